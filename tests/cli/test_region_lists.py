"""`mmposenc region-lists`."""

import json

import pytest

CONFIG = """
default_scope = 'mmseg'
custom_imports = dict(imports=['mmposenc'])
val_dataloader = dict(
    dataset=dict(type='mmposenc.DigitScenes', split='val', num_scenes=30, pipeline=[dict(type='NoSuchTransform')]))
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'scenes.py'
    path.write_text(CONFIG)
    return str(path)


def test_lists_from_label_maps(tool, config, tmp_path, capsys):
    tool('region-lists')([config, '--class-name', 'car', '--tolerance', '0.1', '--out-dir', 'lists'])
    left, right = ((tmp_path / 'lists' / f'val-{half}.txt').read_text().split() for half in ('left', 'right'))
    assert left
    assert right
    assert not set(left) & set(right)
    assert all(name.startswith('val_0000') for name in left + right)
    out = capsys.readouterr().out
    assert f'{len(left)} images with car only left: lists/val-left.txt' in out
    assert f'{len(right)} images with car only right: lists/val-right.txt' in out


def test_lists_from_boxes(tool, tmp_path):
    for name, x in (('a', 0), ('b', 9)):
        objects = [{'label': 'pedestrian', 'bbox': [x, 0, 1, 1]}]
        text = json.dumps({'imgWidth': 10, 'objects': objects})
        (tmp_path / f'{name}_gtBboxCityPersons.json').write_text(text)
    tool('region-lists')(['--citypersons', str(tmp_path), '--split', 'train', '--out-dir', '.'])
    assert [(tmp_path / f'train-{half}.txt').read_text() for half in ('left', 'right')] == ['a\n', 'b\n']


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--class-name', 'person'], "class 'person' is unknown; DigitScenes has sky"),
        (['--split', 'train'], 'has no train_dataloader'),
        (['--tolerance', '0.7'], 'tolerance is a share of the pixels'),
        (['--cfg-options', 'val_dataloader.dataset.num_scenes=1'], "no image of 1 has all of 'pedestrian'"),
    ],
)
def test_a_mistake_leaves_no_list(tool, config, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        tool('region-lists')([config, '--out-dir', 'lists', *arguments])
    assert not (tmp_path / 'lists').exists()
