# Ablates the top N channels of a ranking at the backbone's end, for all branches of ASPP, as the released code does
# (Sec. 4.2.2, Fig. 4). N is num_channels.
_base_ = 'deeplabv3_r50_cityscapes.py'
custom_hooks = [
    dict(
        type='mmposenc.ChannelAblationHook',
        layer='backbone[-1]',
        ranking='work_dirs/deeplabv3_r50_cityscapes/ranking.json',
        num_channels=100,
    ),
]
