"""Detectors of mmdet: ranked, ablated and swept, by the commands and against mmdet's own CocoMetric."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip('mmdet', reason='detectors need mmdet 3.3 and compiled mmcv: make test-official')

from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from planted import some_ranking

from mmposenc.channels import Sweep, SweepPlan
from mmposenc.host.patches import prepare_hosts
from mmposenc.layers import pooled_features
from mmposenc.mm.datasets import DigitSceneBoxes
from mmposenc.mm.detection import detection_metric, is_detector
from mmposenc.mm.loops.sweep_counts import DetectionCounts
from mmposenc.ranking import Ranking

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / 'configs' / 'retinanet_r18_digitscenes.py')
STOCK = Path(sys.modules['mmdet'].__file__ or '').parent / '.mim' / 'configs'


@pytest.fixture
def _hosts(hosts_unchanged: None) -> None:
    prepare_hosts()
    register_all_modules()


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The detector of the guide after a quarter of its training."""
    folder = tmp_path_factory.mktemp('detector')
    options = 'train_cfg.max_iters=100 train_cfg.val_interval=1000 default_hooks.checkpoint.interval=100'
    options += ' param_scheduler.1.end=100'
    command = [sys.executable, '-m', 'mmposenc', 'train', CONFIG, '--work-dir', 'run', '--cfg-options']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run([*command, *options.split()], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(folder / 'run' / 'iter_100.pth')


@pytest.mark.usefixtures('_hosts')
@pytest.mark.parametrize('name, channels, classes', [('r18_digitscenes', 128, 3), ('r50_camvid', 2048, 1)])
def test_the_configs_build_a_detector_of_their_classes(name: str, channels: int, classes: int) -> None:
    cfg = Config.fromfile(ROOT / 'configs' / f'retinanet_{name}.py')
    model = MODELS.build(cfg.model).eval()
    assert is_detector(model)
    assert model.bbox_head.num_classes == classes
    image = torch.rand(1, 3, 64, 128)
    pooled = pooled_features(model, 'backbone[-1]', image, lambda images: model(images, mode='tensor'))
    assert pooled.shape == (1, channels)


def test_rank_and_sweep_agree_with_the_test_of_an_ablated_detector(tool: Callable, checkpoint: str, capsys) -> None:
    images = 'test_dataloader.dataset.indices=30'
    model = [CONFIG, checkpoint]
    tool('rank')([*model, '--out', 'overall.json', '--cfg-options', images])
    ranking = Ranking.load('overall.json')
    assert ranking.num_channels == 128
    words = ['--rankings', 'overall.json', '--num-channels', '0,40,128', '--random', '1', '--cfg-options', images]
    for level in '12':
        tool('sweep')([*model, *words, '--level', level, '--out', f'level{level}'])
    one, two = (Sweep.load(f'level{level}') for level in '12')
    assert one.counts.shape == (30, 5, 20, 4)
    assert torch.allclose(one.counts, two.counts, atol=1e-5)
    assert {'AP', 'AP50', 'MR', 'MR/pedestrian'} <= set(one.metrics)
    assert one.summary().keys() == {'AP', 'AP50', 'MR'}
    with pytest.raises(ValueError, match='images cannot be resampled'):
        one.interval('overall')
    Path('ablated.py').write_text(
        f'_base_ = {CONFIG!r}\n'
        "custom_hooks = [dict(type='mmposenc.ChannelAblationHook', ranking='overall.json', num_channels=40)]\n"
    )
    for config, number in ((CONFIG, 0), ('ablated.py', 40)):
        capsys.readouterr()
        tool('test')([config, checkpoint, '--cfg-options', images])
        printed = capsys.readouterr().out.splitlines()[-1]
        (row,) = (r for r in one.table() if r['ranking'] == 'overall' and r['num_channels'] == number)
        for figure, name in (('AP', 'bbox_mAP'), ('AP50', 'bbox_mAP_50')):
            found = re.search(rf'coco/{name} ([\d.]+)', printed)
            assert found, printed
            assert row[figure] == pytest.approx(100 * float(found[1]), abs=0.051), 'mmdet rounds to three digits'
    assert one.whole('AP50') > 5, 'the detector has learned something'
    (all_off,) = (r for r in one.table() if r['ranking'] == 'overall' and r['num_channels'] == 128)
    assert all_off['AP'] < 1 < one.whole('AP')
    assert all_off['MR'] > 90


def test_claims_need_no_more_than_enough_random_orders(tool: Callable, checkpoint: str) -> None:
    images = 'test_dataloader.dataset.indices=6'
    tool('rank')([CONFIG, checkpoint, '--out', 'overall.json', '--cfg-options', images])
    words = ['--rankings', 'overall.json', '--num-channels', '64', '--random', '19', '--cfg-options', images]
    tool('sweep')([CONFIG, checkpoint, *words, '--out', 'sweep'])
    (claim,) = csv.DictReader(Path('sweep/claims.csv').read_text().splitlines())
    sweep = Sweep.load('sweep')
    assert float(claim['harm']) == pytest.approx(float(sweep.whole('AP') - sweep.values('AP')[0]), abs=1e-5)
    assert 0.05 <= float(claim['random_p']) <= 1
    with pytest.raises(ValueError, match='level must be one of auto, 1, 2 for RetinaNet'):
        tool('sweep')([CONFIG, checkpoint, *words, '--level', '3', '--out', 'other'])


def test_lists_of_left_and_right_from_boxes(tool: Callable, checkpoint: str, capsys: pytest.CaptureFixture) -> None:
    tool('region-lists')([CONFIG, '--out-dir', 'lists'])
    scenes = DigitSceneBoxes('val')
    expected: dict[str, list[str]] = {'left': [], 'right': []}
    for position in range(len(scenes)):
        info = scenes.get_data_info(position)
        persons = [box['bbox'] for box in info['instances'] if box['bbox_label'] == 0]
        for half, inside in (('left', lambda box: box[2] <= 64), ('right', lambda box: box[0] >= 64)):
            if persons and all(map(inside, persons)):
                expected[half].append(f'val_{position:06d}')
    for half, names in expected.items():
        assert Path(f'lists/val-{half}.txt').read_text().split() == names
    tool('rank')([CONFIG, checkpoint, '--region-list', 'lists/val-left.txt', '--out', 'left.json'])
    assert f'images {len(expected["left"])},' in capsys.readouterr().out
    assert Ranking.load('left.json').region == 'left'


COCO = """
_base_ = 'BASE'
dataset = dict(type='CocoDataset', data_root='', ann_file='boxes.json', data_prefix=dict(img='images'), test_mode=True,
    metainfo=dict(classes=('person',)), pipeline=[])
val_dataloader = dict(dataset=dict(_delete_=True, **dataset))
test_dataloader = val_dataloader
"""


def test_lists_of_a_coco_data_set(tool: Callable) -> None:
    images = [dict(id=i, file_name=f'a/{i}.jpg', width=100, height=50) for i in range(3)]
    places = [(0, 0), (1, 70), (2, 10), (2, 80)]
    boxes = [
        dict(id=n + 1, image_id=i, category_id=1, bbox=[x, 5, 20, 30], area=600, iscrowd=0)
        for n, (i, x) in enumerate(places)
    ]
    boxes.append(dict(boxes[0], id=9, bbox=[80, 5, 20, 30], iscrowd=1))  # To be ignored, on the other side.
    document = dict(images=images, annotations=boxes, categories=[dict(id=1, name='person')])
    Path('boxes.json').write_text(json.dumps(document))
    Path('coco.py').write_text(COCO.replace('BASE', CONFIG))
    tool('region-lists')(['coco.py', '--class-name', 'person', '--out-dir', '.'])
    assert (Path('val-left.txt').read_text(), Path('val-right.txt').read_text()) == ('a/0\n', 'a/1\n')
    with pytest.raises(ValueError, match="class 'dog' is unknown; CocoDataset has person"):
        tool('region-lists')(['coco.py', '--class-name', 'dog', '--out-dir', '.'])


class Scenes:
    """Two images with a box each, as a data set of mmdet."""

    metainfo = dict(classes=tuple(map(str, range(80))))

    def __len__(self) -> int:
        return 2

    def get_data_info(self, position: int) -> dict[str, Any]:
        return dict(instances=[dict(bbox=[5, 5, 40, 60], bbox_label=position, ignore_flag=0)])


STOCKS = [
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'detr/detr_r50_8xb2-150e_coco.py',
]


@pytest.mark.usefixtures('_hosts')
@pytest.mark.parametrize('name', STOCKS, ids=lambda name: name.partition('/')[0])
def test_what_is_shared_changes_nothing(name: str) -> None:
    cfg = Config.fromfile(STOCK / name).model
    cfg.backbone.init_cfg = None
    for part in (cfg.test_cfg, cfg.test_cfg.get('rcnn', {})):
        if 'score_thr' in part:
            part.score_thr = 0.0
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    metric = detection_metric(model, Scenes())
    assert metric.num_boxes[:3] == [1, 1, 0]
    ranking = some_ranking(torch.rand(2048), layer='backbone[-1]')
    plan = SweepPlan({'one': ranking}, num_channels=[0, 500, 1000])
    sample = dict(img_shape=(64, 96), ori_shape=(64, 96), batch_input_shape=(64, 96), scale_factor=(1.0, 1.0))
    data = dict(inputs=torch.randn(2, 3, 64, 96), data_samples=[DetDataSample(metainfo=sample) for _ in range(2)])
    counts, said = {}, []
    for level in '12':
        task = DetectionCounts(model, plan, metric, Scenes(), level=level, say=said.append)
        counts[level] = task.count(data, [0, 1])
    assert 'what comes before the layer is computed once per batch' in said[0]
    assert (counts['1'][:, :, :, 1] >= 0).sum() > 100
    assert torch.allclose(counts['1'], counts['2'], atol=1e-5)
    assert not torch.equal(counts['1'][:, 0], counts['1'][:, 1])
