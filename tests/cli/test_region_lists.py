"""`mmposenc region-lists`."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

CONFIG = """
default_scope = 'mmseg'
custom_imports = dict(imports=['mmposenc'])
val_dataloader = dict(
    dataset=dict(type='mmposenc.DigitScenes', split='val', num_scenes=30, pipeline=[dict(type='NoSuchTransform')]))
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / 'scenes.py').write_text(CONFIG)
    return str(tmp_path / 'scenes.py')


def test_lists_from_label_maps_in_which_several_classes_count_as_one(tool, config, capsys):
    def lists(*names):
        tool('region-lists')([config, '--class-name', *names, '--out-dir', '-'.join(names)])
        return [Path('-'.join(names), f'val-{half}.txt').read_text().split() for half in ('left', 'right')]

    alone = {name: lists(name) for name in ('car', 'pedestrian')}
    init_default_scope('mmseg')
    dataset = DATASETS.build({**Config.fromfile(config).val_dataloader.dataset, 'pipeline': []})
    expected = [[], []]
    for info in map(dataset.get_data_info, range(len(dataset))):
        columns = np.isin(info['gt_seg_map'], [dataset.metainfo['classes'].index(name) for name in alone]).any(0)
        seen = [half.any() for half in np.split(columns, 2)]
        if sum(seen) == 1:
            expected[seen.index(True)].append(Path(info['img_path']).stem)
    both = lists('car', 'pedestrian')
    assert both == expected
    said = capsys.readouterr().out
    assert f'{len(both[1])} images with car pedestrian only right: car-pedestrian/val-right.txt' in said
    # One class only left and the other only right is in neither list, though it is in one of each class alone.
    assert set(alone['car'][0]) & set(alone['pedestrian'][1])
    assert not set(alone['car'][0]) & set(alone['pedestrian'][1]) & {*both[0], *both[1]}


def test_lists_from_boxes(tool, tmp_path):
    for name, x in (('a', 0), ('b', 9)):
        text = json.dumps({'imgWidth': 10, 'objects': [{'label': 'pedestrian', 'bbox': [x, 0, 1, 1]}]})
        (tmp_path / f'{name}_gtBboxCityPersons.json').write_text(text)
    tool('region-lists')(['--citypersons', '.', '--split', 'train', '--out-dir', '.'])
    assert [Path(f'train-{half}.txt').read_text() for half in ('left', 'right')] == ['a\n', 'b\n']


@pytest.mark.parametrize('arguments, message', [
    (['--class-name', 'person'], "class 'person' is unknown; DigitScenes has sky"),
    (['--split', 'train'], 'has no train_dataloader'),
    (['--tolerance', '0.7'], 'tolerance is a share of the pixels'),
    (['--cfg-options', 'val_dataloader.dataset.num_scenes=1'], "no image of 1 has all of 'pedestrian'"),
])  # fmt: skip
def test_a_mistake_leaves_no_list(tool, config, arguments, message):
    with pytest.raises(ValueError, match=message):
        tool('region-lists')([config, '--out-dir', 'lists', *arguments])
    assert not Path('lists').exists()
