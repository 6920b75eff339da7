# A classifier without its best position channels, behind GAP (Sec. 5 names object recognition too; N is ours).
_base_ = 'baseline_r18_cifar100.py'
custom_hooks = [
    dict(
        type='mmposenc.ChannelAblationHook',
        layer='neck',
        ranking='work_dirs/baseline_r18_cifar100/ranking.json',
        num_channels=50,
    ),
]
