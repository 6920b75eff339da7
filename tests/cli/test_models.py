"""A MODEL of the command line: a config's network gets exactly the images that the config gives it."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmposenc.cli import models
from mmposenc.grids import LocationProbe

NORMALISED = dict(mean=[100.0, 120, 140], std=[50.0, 60, 70])


@pytest.mark.parametrize(
    'preprocessor',
    [
        dict(type='mmpretrain.ClsDataPreprocessor', to_rgb=True, **NORMALISED),
        dict(type='mmpretrain.ClsDataPreprocessor', to_rgb=False, **NORMALISED),
        dict(type='mmpretrain.ClsDataPreprocessor'),
        dict(type='mmseg.SegDataPreProcessor', bgr_to_rgb=True, **NORMALISED),
        dict(type='mmseg.SegDataPreProcessor', **NORMALISED),
        dict(type='mmposenc.BatchPreprocessor', to_rgb=True, **NORMALISED),
    ],
    ids=lambda each: each['type'],
)
def test_the_order_and_the_normalisation_of_a_config(preprocessor: dict, hosts_unchanged, classifier_config, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    model, known = models._of_config(_with_preprocessor(classifier_config, preprocessor))
    given = known.transform(None, 'bicubic')(Image.fromarray(image))
    bgr = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)  # as a pipeline reads it
    expected = model.data_preprocessor({'inputs': [bgr], 'data_samples': None})['inputs'][0]
    torch.testing.assert_close(given, expected.cpu(), rtol=1e-5, atol=2e-5)


def _with_preprocessor(path: Path, preprocessor: dict) -> Config:
    cfg = models.read_config(Namespace(cfg_options=None, trust_checkpoint=False), str(path))
    cfg.data_preprocessor = cfg.model.data_preprocessor = preprocessor
    return cfg


@pytest.mark.parametrize('wrapped', [dict, lambda **data: dict(type='ConcatDataset', datasets=[data])])
@pytest.mark.parametrize(
    'data, bgr',
    [
        (dict(type='CIFAR10', pipeline=[]), False),
        (dict(type='mmpretrain.CIFAR100', pipeline=[]), False),
        (dict(type='mmposenc.Digits'), False),
        (dict(type='CustomDataset', pipeline=[]), True),
    ],
)
def test_the_order_of_colours_that_a_data_set_gives(data, bgr, wrapped, hosts_unchanged, classifier_config):
    cfg = _with_preprocessor(classifier_config, dict(type='mmpretrain.ClsDataPreprocessor', **NORMALISED))
    cfg.test_dataloader.dataset = wrapped(**data)
    _, known = models._of_config(cfg)
    assert (known.bgr, known.mean[0]) == (bgr, pytest.approx((140 if bgr else 100) / 255))


def test_random_weights_are_drawn_as_for_a_training(hosts_unchanged, classifier_config, capsys):
    cfg = _with_preprocessor(classifier_config, dict(type='mmpretrain.ClsDataPreprocessor'))
    named = dict(type='Pretrained', checkpoint='nowhere.pth')
    vit = dict(type='VisionTransformer', arch='deit-tiny', img_size=32, out_indices=0, init_cfg=named)
    cfg.model = dict(type='ImageClassifier', backbone=vit, init_cfg=[named])
    model, _ = models._of_config(cfg)
    assert model.backbone.pos_embed.std().item() == pytest.approx(0.02, rel=0.1)
    assert not capsys.readouterr().out


@pytest.mark.filterwarnings('ignore')
def test_a_config_is_probed_like_any_network(tool, classifier_config):
    argv = [classifier_config, '--images', 'images', '--out', 'out', '--patch-size', '32', '--weights', 'none']
    tool('probe')([*argv, '--layers', 'backbone.layer2', '--controls', 'circular', 'random', '--seeds', '0'])
    probe = LocationProbe.load(next(Path('out').glob('*.json')))
    assert probe.num_images == 21
    assert list(probe.measures['backbone.layer2']) == ['none', 'circular', 'random']
    with pytest.raises(ValueError, match=r'--mean, --std: not for a config'):
        tool('probe')([*argv, '--mean', '0', '0', '0'])


@pytest.mark.parametrize('file, side', [('mobilenet_v2-7ebf99e0.pth', 232), ('mobilenet_v2-b0353104.pth', 256)])
def test_preprocessing_of_torchvision_is_that_of_the_weights(file, side):
    args = Namespace(weights=f'downloads/{file}', mean=None, std=None)
    assert models.build(args, 'torchvision:mobilenet_v2')[1].resize == side
