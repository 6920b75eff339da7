# Ablates the top N channels of a ranking behind the pooling branch's GAP (Sec. 4.2.2, Fig. 4). N is num_channels.
_base_ = 'deeplabv3_r50_camvid.py'
custom_hooks = [
    dict(
        type='mmposenc.ChannelAblationHook',
        layer='decode_head.image_pool.0',
        ranking='work_dirs/deeplabv3_r50_camvid/ranking.json',
        num_channels=100,
    ),
]
