"""Whole segmentation transformers of mmseg: ranking, ablation and sweep against what is computed by hand."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from planted_segmenter import LogitsMetric, make_runner, number_of_hooks, write_images
from torch import Tensor, nn

from mmposenc.host.config import read_config, replace_sync_bn
from mmposenc.ranking import Ranking

CLASSES = 3
SIZE = 64
STAGES = [8, 16, 24, 32]
SWIN = dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], drop_path_rate=0.0)
SEGMENTER = dict(channels=32, embed_dims=32, in_channels=32, num_layers=1, num_heads=2)
# The config in mmseg, and what makes its backbone and its head small.
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    'SegFormer': (
        'segformer_mit-b0',
        dict(embed_dims=8, num_layers=[1, 1, 1, 1], num_heads=[1, 2, 3, 4]),
        dict(in_channels=STAGES, channels=16),
    ),
    'UPerNet-Swin': ('upernet_swin', SWIN, dict(in_channels=[8, 16, 32, 64], channels=16)),
    'Segmenter': ('segmenter_vit-b16_mask', dict(img_size=SIZE, embed_dims=32, num_layers=2, num_heads=2), SEGMENTER),
}


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, hosts_unchanged: None) -> nn.Module:
    name, backbone, head = FAMILIES[request.param]
    cfg = read_config(f'mmseg::_base_/models/{name}.py').model
    cfg.update(pretrained=None, auxiliary_head=None, test_cfg=dict(mode='whole'))
    cfg.backbone.update(backbone)
    cfg.decode_head.update(head, num_classes=CLASSES)
    replace_sync_bn(cfg)
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:  # so that images and classes differ
            nn.init.normal_(parameter, 0, 0.3)
    return model


@pytest.fixture
def dataset(tmp_path: Path) -> dict[str, Any]:
    """Three images of noise that is brighter to the right, with labels."""
    noise = np.random.default_rng(0).integers(0, 128, (3, SIZE, SIZE, 3))
    images = (np.linspace(0, 128, SIZE)[:, None] + noise).astype(np.uint8)
    return write_images(tmp_path, images, images[..., 0] // 86, list('abc'))


def read(model: Any, folder: Path) -> tuple[Tensor, Tensor]:
    """Normalised images and their labels."""
    images, labels = ([cv2.imread(str(folder / name / f'{i}.png')) for i in range(3)] for name in ('images', 'labels'))
    batch = torch.from_numpy(np.stack(images)[..., ::-1].copy()).permute(0, 3, 1, 2).float()
    return (batch - model.data_preprocessor.mean) / model.data_preprocessor.std, torch.tensor(np.stack(labels)[..., 0])


def by_hand(model: Any, images: Tensor, channels: list[int]) -> Tensor:
    """Logits with channels of the backbone's last output set to zero between backbone and head."""
    *others, last = model.extract_feat(images)
    last = last.clone()
    last[:, channels] = 0
    metas = [SegDataSample(metainfo=dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE))).metainfo] * len(images)
    return model.decode_head.predict((*others, last), metas, model.test_cfg)


@torch.no_grad()
def test_a_whole_transformer_is_ranked_ablated_and_swept(model: Any, dataset: dict, tmp_path: Path) -> None:
    images, labels = read(model, tmp_path)

    cfg = dict(type='mmposenc.ChannelRankingLoop', layer='backbone[-1]')
    make_runner(model, dataset, tmp_path, test_cfg=cfg, test_evaluator=[]).test()
    file = tmp_path / 'work' / 'ranking.json'
    ranking = Ranking.load(file)
    first, second = (model.extract_feat(view)[-1].mean((2, 3)) for view in (images, images.flip(-1)))
    assert ranking.scores == pytest.approx((first - second).abs().mean(0).tolist(), rel=1e-4, abs=1e-5)
    assert min(ranking.scores) > 0.01

    metric = LogitsMetric()
    hook = dict(type='mmposenc.ChannelAblationHook', ranking=str(file), num_channels=5)
    make_runner(model, dataset, tmp_path, test_evaluator=[metric], custom_hooks=[hook]).test()
    expected = by_hand(model, images, list(ranking.order[:5]))
    torch.testing.assert_close(torch.stack(metric.logits), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, by_hand(model, images, []), atol=0.01)

    cfg = dict(type='mmposenc.AblationSweepLoop', rankings=[str(file)], num_channels=[0, 5, 16], num_random=2)
    runner = make_runner(model, dataset, tmp_path, test_cfg=cfg, test_evaluator=[])
    runner.test()
    sweep = runner.test_loop.sweep
    off = {run: channels for order in sweep.plan.orders for run, channels in order.ablations()}
    for variant, accuracy in zip(sweep.plan.variants, sweep.values('aAcc'), strict=True):
        right = by_hand(model, images, list(off.get(variant.run, ()))).argmax(1) == labels
        assert float(accuracy) == pytest.approx(100 * float(right.float().mean()), abs=0.02)
    assert len(sweep.values('aAcc').unique()) > 4, 'the variants differ'
    assert number_of_hooks(model) == 0
