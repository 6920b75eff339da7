# Ablates the top-ranked channels of a classifier behind its GAP (Sec. 5 mentions object recognition; N is our choice).
_base_ = 'baseline_r18_cifar100.py'
custom_hooks = [
    dict(
        type='mmposenc.ChannelAblationHook',
        layer='neck',
        ranking='work_dirs/baseline_r18_cifar100/ranking.json',
        num_channels=50,
    ),
]
