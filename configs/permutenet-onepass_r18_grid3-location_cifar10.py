# PermuteNet's first pass over CIFAR-10, tested after every 480 images at first, later after every 12000.
_base_ = 'permutenet_r18_grid3-location_cifar10.py'
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=1041, val_interval=10, dynamic_intervals=[(100, 250)]
)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=250), logger=dict(interval=10, log_metric_by_epoch=False))
log_processor = dict(by_epoch=False)
