"""A MODEL of the command line: a config's network gets exactly the images that the config gives it."""

from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmposenc.cli import call, models
from mmposenc.grids import LocationProbe
from mmposenc.registry import DATASETS

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
    arguments = Namespace(cfg_options=None, trust_checkpoint=False)
    cfg = models.read_config(arguments, str(path))
    cfg.data_preprocessor = cfg.model.data_preprocessor = preprocessor
    return cfg


def test_data_in_memory_are_rgb_already(hosts_unchanged):
    arguments = Namespace(cfg_options=None, trust_checkpoint=False, mean=None, std=None)
    model, known = models.build(arguments, 'mmposenc::permutenet_r18_grid3-location_digits.py')
    digit = DATASETS.build(dict(type='mmposenc.Digits', split='test')).__getitems__([0])
    given = known.transform(None, 'bicubic')(Image.fromarray(digit['inputs'][0].permute(1, 2, 0).numpy()))
    own = model.data_preprocessor
    torch.testing.assert_close(given, (digit['inputs'][0] - own.mean.cpu()) / own.std.cpu())
    assert not known.bgr


@pytest.mark.parametrize('wrapped', [dict, lambda **data: dict(type='ConcatDataset', datasets=[data])])
@pytest.mark.parametrize('kind, bgr', [('CIFAR10', False), ('mmpretrain.CIFAR100', False), ('CustomDataset', True)])
def test_the_order_of_colours_that_a_data_set_gives(kind, bgr, wrapped, hosts_unchanged, classifier_config):
    cfg = _with_preprocessor(classifier_config, dict(type='mmpretrain.ClsDataPreprocessor', **NORMALISED))
    cfg.test_dataloader.dataset = wrapped(type=kind, data_root='data', pipeline=[dict(type='PackInputs')])
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
def test_a_config_is_probed_like_any_network(classifier_config, hosts_unchanged, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    argv = ['probe', str(classifier_config), '--images', str(tmp_path / 'images'), '--out', 'out', '--patch-size', '32']
    call(
        [*argv, '--weights', 'none', '--layers', 'backbone.layer2', '--controls', 'circular', 'random', '--seeds', '0']
    )
    probe = LocationProbe.load(next(Path('out').glob('*.json')))
    assert probe.num_images == 21
    assert list(probe.measures['backbone.layer2']) == ['none', 'circular', 'random']
    with pytest.raises(ValueError, match=r'--mean, --std: not for a config'):
        call([*argv, '--weights', 'none', '--mean', '0', '0', '0'])


@pytest.mark.parametrize('file, side', [('mobilenet_v2-7ebf99e0.pth', 232), ('mobilenet_v2-b0353104.pth', 256)])
def test_preprocessing_of_torchvision_is_that_of_the_weights(file, side):
    args = Namespace(weights=f'downloads/{file}', mean=None, std=None)
    assert models.build(args, 'torchvision:mobilenet_v2')[1].resize == side


def test_the_file_read_by_name_is_the_image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), pixels[..., ::-1])
    data = models.Images([tmp_path / 'a.png', pixels], [3, 4], models.Preprocessing().transform(8, 'bicubic'))
    (read, _), (given, label) = data[0], data[1]
    assert torch.equal(read, given)
    assert (read.shape, label) == ((3, 8, 8), 4)
