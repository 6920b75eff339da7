# DeepLabv3-R50 with the paper's output stride, 16 (Sec. 4.2). mmseg's zoo has no checkpoint of it: it must be trained.
_base_ = 'deeplabv3_r50_cityscapes.py'
model = dict(backbone=dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)), decode_head=dict(dilations=(1, 6, 12, 18)))
