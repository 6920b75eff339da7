"""`mmposenc train` and `mmposenc test` on ordinary configs of mmpretrain and mmseg, and with a user's mistakes."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from runs import same
from torch.nn.modules.module import register_module_forward_hook
from toy_training import Calls

from mmposenc.host.checkpoints import read_checkpoint

CUDNN = torch.backends.cudnn


def last_line(capsys: pytest.CaptureFixture) -> str:
    return capsys.readouterr().out.rstrip().splitlines()[-1]


def test_train_resume_and_test_an_mmpretrain_config(tool: Callable, classifier_config: Path, capsys) -> None:
    train, test = tool('train'), tool('test')
    train([classifier_config, '--resume', '--amp', '--cfg-options', 'optim_wrapper.optimizer.lr=0.05'])
    out = capsys.readouterr().out
    assert 'no checkpoint in work_dirs/tiny: starting from the beginning' in out
    assert re.fullmatch(r'done: accuracy/top1 \S+; checkpoint: work_dirs/tiny/epoch_2\.pth', out.splitlines()[-1])
    saved = Config.fromfile('work_dirs/tiny/tiny.py')
    assert saved.optim_wrapper.type == 'mmposenc.AutocastOptimWrapper'
    assert saved.optim_wrapper.optimizer.lr == 0.05
    assert saved.train_dataloader.collate_fn.type == 'default_collate'
    cut = Path('work_dirs/tiny/epoch_2.pth')
    assert read_checkpoint(cut)['meta']['epoch'] == 2

    # The first epoch's checkpoint is whole, the second's is cut: training resumes from the first, and says so.
    cut.write_bytes(cut.read_bytes()[:5000])
    train([classifier_config, '--resume', '--cfg-options', 'train_cfg.max_epochs=3'])
    out = capsys.readouterr().out
    assert re.search(r'passed over: checkpoint .*epoch_2\.pth is damaged', out)
    assert re.search(r'resuming from .*epoch_1\.pth', out)
    assert 'Epoch(train) [2]' in out
    assert 'Epoch(train) [1]' not in out
    match = re.fullmatch(r'done: (.*); checkpoint: work_dirs/tiny/epoch_3\.pth', out.rstrip().splitlines()[-1])

    # A test of that checkpoint gives the figure that training ended with.
    test([classifier_config, 'work_dirs/tiny/epoch_3.pth', '--work-dir', 'elsewhere'])
    assert last_line(capsys) == f'done: {match[1]}; checkpoint: work_dirs/tiny/epoch_3.pth'
    assert Path('elsewhere').is_dir()

    dtypes = []
    with register_module_forward_hook(
        lambda module, _, scores: dtypes.append(scores.dtype) if isinstance(module, torch.nn.Linear) else None
    ):
        test([classifier_config, 'work_dirs/tiny/epoch_3.pth', '--amp'])
    assert dtypes == [torch.bfloat16] * 3


def test_train_and_test_an_mmseg_config(tool: Callable, segmenter_config: Path, capsys) -> None:
    tool('train')([segmenter_config, '--work-dir', 'run'])
    line = last_line(capsys)
    assert re.fullmatch(r'done: aAcc .*, mIoU .*, mAcc .*; checkpoint: run/iter_8\.pth', line)
    tool('test')([segmenter_config, 'run/iter_8.pth', '--work-dir', 'run'])
    assert last_line(capsys) == line
    # Without a validation the last line has the loss.
    without = ['val_cfg=None', 'val_dataloader=None', 'val_evaluator=None', 'train_cfg.max_iters=4']
    tool('train')([segmenter_config, '--cfg-options', *without])
    assert re.fullmatch(r'done: loss \d\.\d+; checkpoint: work_dirs/tiny_seg/iter_4\.pth', last_line(capsys))


def test_checkpoints_that_do_not_fit(tool: Callable, classifier_config: Path, fails: Callable, capsys) -> None:
    config, path, test = classifier_config, 'work_dirs/tiny/epoch_1.pth', tool('test')
    tool('train')([config, '--cfg-options', 'train_cfg.max_epochs=1'])

    deeper = ['--cfg-options', 'model.backbone.depth=34']
    message = r'error: the checkpoint does not fit ImageClassifier .*missing, first backbone.*\n'
    assert re.fullmatch(message, fails('test', config, path, *deeper))
    assert re.fullmatch(message, fails('train', config, '--resume', path, *deeper))

    weights = {'state_dict': read_checkpoint(path)['state_dict']}
    torch.save(weights, 'weights.pth')
    test([config, 'weights.pth'])
    assert last_line(capsys).startswith('done: accuracy/top1')
    err = fails('train', config, '--resume', 'weights.pth')
    assert re.search(r'error: checkpoint weights\.pth holds no meta, message_hub, .*load_from=weights\.pth', err)

    trace = Path('ran').resolve()
    torch.save({**weights, 'bad': Calls(os.system, f'touch {trace}')}, 'hostile.pth')
    err = fails('test', config, 'hostile.pth')
    assert re.fullmatch(r'error: checkpoint hostile\.pth was not loaded: it asks for .*--trust-checkpoint\n', err)
    assert not trace.exists()
    test([config, 'hostile.pth', '--trust-checkpoint'])
    assert trace.exists()


@pytest.mark.parametrize(
    'options, message',
    [
        (['model.head.type=LinearHead'], r'error: LinearHead is not in the mmpretrain::model registry\..*'),
        (['model.backbone.dept=18'], r'error: .*unexpected keyword argument .dept.*'),
        (['model=5'], r'error: model should be .*got 5'),
        (['custom_hooks=[5]'], r'error: custom_hooks in \S*tiny\.py must be a list of dicts, got \[5\]'),
        (['val_dataloader=5'], r'error: val_dataloader in \S*tiny\.py must be a dict, got 5'),
        (['train_dataloader=None'], r'error: \S*tiny\.py has no train_dataloader; add it, or give another config'),
        (['train_dataloader.dataset.data_root=nowhere'], r'error: .*nowhere.*'),
    ],
)
def test_a_mistake_in_a_config_is_one_line(
    classifier_config: Path, fails: Callable, options: list[str], message: str
) -> None:
    assert re.fullmatch(message + r'\n', fails('train', classifier_config, '--cfg-options', *options))


# Flips, two random views, and channels in a random order.
RANDOM = """
custom_imports = dict(imports=['mmposenc'])
model.update(type='mmposenc.AugShiftClassifier', loss=dict(type='mmposenc.AugShiftLoss'),
    neck=dict(type='mmposenc.PermuteNeck'))
views = dict(type='MultiView', num_views=2, transforms=[[dict(type='RandomCrop', crop_size=16, padding=4)]])
train_dataloader['dataset']['pipeline'] = [
    dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5), views, dict(type='PackInputs')]
"""


@pytest.fixture
def switches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `--deterministic` sets for the process is put back."""
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    before = CUDNN.deterministic, CUDNN.benchmark
    yield
    torch.use_deterministic_algorithms(False)
    CUDNN.deterministic, CUDNN.benchmark = before
    os.environ.pop('CUBLAS_WORKSPACE_CONFIG', None)  # before monkeypatch gives back a user's own


@pytest.mark.parametrize('host', ['mmpretrain', 'mmseg'])
def test_deterministic_runs_of_one_seed_have_the_same_bits(
    tool: Callable, switches: None, classifier_config: Path, segmenter_config: Path, host: str
) -> None:
    config, last = segmenter_config, 'iter_8.pth'
    if host == 'mmpretrain':
        config, last = classifier_config, 'epoch_2.pth'
        config.write_text(config.read_text() + RANDOM)
    runs = {}
    for name, seed in (('one', 5), ('again', 5), ('other', 6)):
        options = [f'randomness.seed={seed}', 'default_hooks.logger.type=LoggerHook', 'default_hooks.logger.interval=1']
        tool('train')([config, '--work-dir', name, '--deterministic', '--cfg-options', *options])
        assert torch.are_deterministic_algorithms_enabled()
        assert (CUDNN.deterministic, CUDNN.benchmark) == (True, False)
        assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
        saved = read_checkpoint(f'{name}/{last}')
        runs[name] = (saved['state_dict'], saved['optimizer'], log(name))
    one, again, other = runs.values()
    assert len(one[2]) > 4
    assert same(one, again)
    for part in (0, 2):
        assert not same(one[part], other[part])


def log(folder: str) -> list[dict[str, Any]]:
    """Every logged figure but the times."""
    (path,) = Path(folder).glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in line.items() if 'time' not in name} for line in lines]
