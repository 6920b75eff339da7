# What every classification run shares. mmpretrain's scope stays; types of this package are written mmposenc.X.
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmposenc'])

default_hooks = dict(
    runtime_info=dict(type='mmposenc.DeferredRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='mmposenc.MainProcessLoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='mmposenc.AtomicCheckpointHook', interval=10, max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    head_check=dict(type='mmposenc.HeadCheckHook'),
)
custom_hooks = [
    dict(type='mmposenc.ProgressBarHook'),
    dict(type='mmposenc.RandomStateHook'),
    dict(type='mmposenc.StopSignalHook'),
    # One CUDA graph per direction instead of hundreds of kernel launches; a CPU stays eager.
    dict(type='mmposenc.CompileBackboneHook', options=dict(mode='reduce-overhead')),
]

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
# TensorBoard or Weights & Biases: add dict(type='TensorboardVisBackend') or dict(type='WandbVisBackend') here.
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)

log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0, diff_rank_seed=True)
