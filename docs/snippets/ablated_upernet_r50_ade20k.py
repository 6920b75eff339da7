_base_ = 'mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py'
custom_imports = dict(imports=['mmposenc'])
test_evaluator = dict(_delete_=True, type='mmposenc.RegionIoUMetric')
custom_hooks = [dict(type='mmposenc.ChannelAblationHook', ranking='ranking.json', num_channels=100)]
