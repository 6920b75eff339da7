"""1, 2 and 4 processes give the same metrics, rankings and sweeps, also where they cannot share the data evenly."""

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from started import run_together
from sweep_commands import make_aspp, result, save_inputs
from torch import nn

POOLED = 'decode_head.image_pool.0'
RANKINGS = [f'ranking-{pair}-{kind}.json' for pair in ('flip_image', 'flip_kernels') for kind in ('abs', 'signed')]


@pytest.fixture
def jobs(segmenter_config: Path, classifier_config: Path, tmp_path: Path) -> dict[str, list[str]]:
    """The arguments by name; 5 scenes and 7 images, which 2 and 4 processes cannot share evenly."""
    scene, labels = (cv2.imread(str(tmp_path / 'scenes' / kind / '0.png'), -1) for kind in ('images', 'labels'))
    cv2.imwrite(str(tmp_path / 'scenes' / 'images' / '4.png'), np.roll(scene, 9, axis=1))
    cv2.imwrite(str(tmp_path / 'scenes' / 'labels' / '4.png'), np.roll(labels, 9, axis=1))
    # Coarse patterns and three classes: what a random network says of them changes with a shift.
    generator = np.random.default_rng(0)
    for path in sorted((tmp_path / 'images' / 'val').rglob('*.png')):
        pattern = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(path), pattern.repeat(4, axis=0).repeat(4, axis=1))
    (tmp_path / 'images' / 'val' / 'third').mkdir()
    text = classifier_config.read_text().replace('num_classes=2, in_channels', 'num_classes=3, in_channels')
    classifier_config.write_text(text)
    folders = [tmp_path / name for name in ('segmenter', 'classifier')]
    for folder in folders:
        folder.mkdir()
    segmenter = save_inputs(make_aspp(segmenter_config), 'backbone[-1]', folders[0])
    classifier = save_inputs(classifier_config, 'neck', folders[1])
    for config, checkpoint, *_ in (segmenter, classifier):
        calibrate(config, checkpoint)
    ours = "custom_imports = dict(imports=['mmposenc'])\n"
    regions, shifts = tmp_path / 'regions.py', tmp_path / 'shifts.py'
    regions.write_text(
        f"_base_ = '{segmenter[0]}'\n{ours}"
        "test_evaluator = dict(_delete_=True, type='mmposenc.RegionIoUMetric', classwise=True)\n"
        # As in most configs of mmseg; PyTorch refuses it to several processes without GPUs.
        "model = dict(decode_head=dict(norm_cfg=dict(type='SyncBN')))\n"
    )
    shifts.write_text(
        f"_base_ = '{classifier[0]}'\n{ours}"
        "test_cfg = dict(type='mmposenc.ShiftConsistencyLoop', max_shifts=[2, 8],\n"
        "    protocols=['zero_ref', 'zero_pair', 'roll_pair', 'reflect_ref'])\n"
        "test_evaluator = dict(_delete_=True, type='mmposenc.ShiftConsistencyMetric')\n"
    )
    pairs = ['--pair', 'flip_image', 'flip_kernels', '--statistic', 'abs', 'signed', '--out', 'ranking.json']
    swept = ['--num-channels', '0:33:8', '--windows', '8', '--random', '2']
    # Batches of 3 scenes and of 3 images: the last one is smaller, and one of 4 processes has none.
    batches = ['--cfg-options', 'test_dataloader.batch_size=3']
    ablated = tmp_path / 'ablated.py'
    hook = "dict(type='mmposenc.ChannelAblationHook', layer='backbone[-1]', random=(16, 0))"
    ablated.write_text(f"_base_ = '{regions}'\ncustom_hooks = [{hook}]\n")
    return {
        'consistency': ['test', str(shifts), classifier[1], '--work-dir', 'run'],
        'regions': ['test', str(regions), segmenter[1], '--work-dir', 'run'],
        'ablated': ['test', str(ablated), segmenter[1], '--work-dir', 'run'],
        'ranking': ['rank', *segmenter[:2], *pairs],
        'sweep': ['sweep', *segmenter, *swept, '--layer', POOLED, 'backbone[-1]', '--out', 'sweep', *batches],
        'classes': ['sweep', *classifier, *swept, '--max-shift', '3', '--out', 'classes', *batches],
    }


@torch.no_grad()
def calibrate(config: str, checkpoint: str) -> None:
    """Let activations keep their scale through a random network: what it says then depends on the image."""
    cfg, document = Config.fromfile(config), torch.load(checkpoint)
    init_default_scope(cfg.default_scope)
    model = MODELS.build({**cfg.model, 'data_preprocessor': None})
    model.load_state_dict(document['state_dict'])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    images = torch.randn(64, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    scores = model.train()(images, mode='tensor')
    # No class wins everywhere.
    last = model.head.fc if hasattr(model, 'head') else model.decode_head.conv_seg
    last.bias -= scores.transpose(0, 1).flatten(1).mean(1)
    torch.save({**document, 'state_dict': model.state_dict()}, checkpoint)


@pytest.mark.slow
@pytest.mark.dist
def test_1_2_and_4_processes_give_the_same(jobs: dict, tmp_path: Path) -> None:
    (tmp_path / 'jobs.json').write_text(json.dumps(jobs))
    script, variables = str(Path(__file__).with_name('every_job.py')), {'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
    run_together(([sys.executable, script, 'jobs.json', '1', '2', '4'], variables), cwd=tmp_path)
    one, (expected,) = tmp_path / '1', ends(tmp_path, 1)
    assert expected.pop('processes') == 1
    figures = expected['figures']
    assert (figures['ranking']['images'], figures['ranking']['channels']) == (5, 32)
    assert figures['ablated'] != figures['regions']
    labelled = np.array(expected['counts']['regions'])[..., 0, :]
    assert labelled.sum() == 5 * 32 * 32, 'each pixel is counted once'
    assert all(len(set(figures[job].values())) > 10 for job in ('consistency', 'regions')), 'figures that could differ'
    assert all(len(set(json.loads((one / name).read_text())['scores'])) > 20 for name in RANKINGS)
    for processes in (2, 4):
        for rank, found in enumerate(ends(tmp_path, processes)):
            assert found.pop('processes') == processes
            # As text, since a figure may be NaN: each to its last digit, each count to its last integer.
            assert json.dumps(found) == json.dumps(expected), f'process {rank} of {processes}'
        many = tmp_path / str(processes)
        for name in ('sweep', 'classes'):
            assert result(many / name) == result(one / name), f'{name} by {processes} processes'
        for name in RANKINGS:
            assert (many / name).read_bytes() == (one / name).read_bytes(), f'{name} by {processes} processes'


def ends(folder: Path, processes: int) -> list[dict[str, Any]]:
    """What each of so many processes ended with."""
    return [json.loads((folder / str(processes) / f'figures-{rank}.json').read_text()) for rank in range(processes)]
