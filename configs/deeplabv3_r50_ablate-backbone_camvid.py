# The top-ranked channels ablated at the backbone's end, for all branches (released code; Sec. 4.2.2, Fig. 4).
_base_ = 'deeplabv3_r50_camvid.py'
custom_hooks = [
    dict(
        type='mmposenc.ChannelAblationHook',
        layer='backbone[-1]',
        ranking='work_dirs/deeplabv3_r50_camvid/ranking.json',
        num_channels=100,
    ),
]
