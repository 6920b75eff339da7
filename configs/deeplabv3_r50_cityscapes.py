# DeepLabv3-R50 with output stride 8 on Cityscapes (Sec. 4.2). It takes mmseg's checkpoint without changes:
# deeplabv3_r50-d8_512x1024_80k_cityscapes_20200606_113404-b92cfdd4.pth, 79.32 mIoU.
_base_ = 'mmseg::deeplabv3/deeplabv3_r50-d8_4xb2-80k_cityscapes-512x1024.py'
custom_imports = dict(imports=['mmposenc'])
model = dict(test_cfg=dict(mode='whole'))  # a window would hide from GAP where in the image it lies
val_evaluator = dict(type='mmposenc.RegionIoUMetric')  # Sec. 4.2.2: left, center, right and overall
test_evaluator = val_evaluator
