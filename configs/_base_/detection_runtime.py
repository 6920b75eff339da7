# What every detection run shares. mmdet's scope stays; types of this package are written mmposenc.X.
default_scope = 'mmdet'
custom_imports = dict(imports=['mmposenc'])

default_hooks = dict(
    runtime_info=dict(type='mmposenc.DeferredRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='mmposenc.MainProcessLoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='mmposenc.AtomicCheckpointHook', by_epoch=False, interval=1000, max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [
    dict(type='mmposenc.ProgressBarHook'),
    dict(type='mmposenc.RandomStateHook'),
    dict(type='mmposenc.StopSignalHook'),
]
log_processor = dict(by_epoch=False)

# The boxes come with the samples: PackDetInputs keeps their `instances`.
val_evaluator = dict(type='CocoMetric', metric='bbox')
test_evaluator = val_evaluator
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends)

log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
