"""tools/train.py and tools/test.py on ordinary configs of both hosts, and what they do with a user's mistakes."""

import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmposenc.cli import common as command_line
from mmposenc.host.atomic_checkpoint import AtomicLocalBackend
from mmposenc.host.checkpoints import read_checkpoint

ROOT = Path(__file__).parents[1]
Tool = Callable[[str], Callable[[list[str]], None]]


def last_line(capsys: pytest.CaptureFixture) -> str:
    return capsys.readouterr().out.rstrip().splitlines()[-1]


def run_and_catch(main: Callable[[], None], capsys: pytest.CaptureFixture) -> str:
    """Run as from the command line; the run must end with status 1, and its errors are returned."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as info:
        command_line.run(main)
    assert info.value.code == 1
    return capsys.readouterr().err


def test_train_resume_and_test_an_mmpretrain_config(
    tool: Tool, classifier_config: Path, capsys: pytest.CaptureFixture
) -> None:
    train, test = tool('train'), tool('test')
    train([str(classifier_config), '--amp', '--cfg-options', 'optim_wrapper.optimizer.lr=0.05'])
    match = re.fullmatch(r'done: accuracy/top1 (\S+); checkpoint: (\S+)', last_line(capsys))
    assert match
    assert match[2] == 'work_dirs/tiny/epoch_2.pth'
    saved = Config.fromfile('work_dirs/tiny/tiny.py')
    assert saved.optim_wrapper.type == 'mmposenc.AutocastOptimWrapper'
    assert saved.optim_wrapper.optimizer.lr == 0.05
    assert saved.train_dataloader.collate_fn.type == 'default_collate'
    assert read_checkpoint(match[2])['meta']['epoch'] == 2

    # The first epoch's checkpoint is whole, the second's is cut: training goes on from the first, and says so.
    cut = Path(match[2])
    cut.write_bytes(cut.read_bytes()[:5000])
    train([str(classifier_config), '--resume', '--cfg-options', 'train_cfg.max_epochs=3'])
    out = capsys.readouterr().out
    assert re.search(r'passed over: checkpoint .*epoch_2\.pth is damaged', out)
    assert re.search(r'resuming from .*epoch_1\.pth', out)
    assert 'Epoch(train) [2]' in out
    assert 'Epoch(train) [1]' not in out
    match = re.fullmatch(r'done: (.*); checkpoint: work_dirs/tiny/epoch_3\.pth', out.rstrip().splitlines()[-1])
    assert match

    # A test of that checkpoint gives the figure that training ended with.
    test([str(classifier_config), 'work_dirs/tiny/epoch_3.pth', '--work-dir', 'elsewhere'])
    assert last_line(capsys) == f'done: {match[1]}; checkpoint: work_dirs/tiny/epoch_3.pth'
    assert Path('elsewhere').is_dir()


def test_train_and_test_an_mmseg_config(tool: Tool, segmenter_config: Path, capsys: pytest.CaptureFixture) -> None:
    tool('train')([str(segmenter_config), '--work-dir', 'run'])
    figures = re.fullmatch(r'done: (aAcc .*, mIoU .*, mAcc .*); checkpoint: run/iter_8\.pth', last_line(capsys))
    assert figures
    tool('test')([str(segmenter_config), 'run/iter_8.pth', '--work-dir', 'run'])
    assert last_line(capsys) == f'done: {figures[1]}; checkpoint: run/iter_8.pth'


def test_resume_without_a_checkpoint_starts_from_the_beginning(
    tool: Tool, classifier_config: Path, capsys: pytest.CaptureFixture
) -> None:
    options = ['--cfg-options', 'train_cfg.max_epochs=1', 'val_cfg=None', 'val_dataloader=None', 'val_evaluator=None']
    tool('train')([str(classifier_config), '--resume', *options])
    out = capsys.readouterr().out
    assert 'no checkpoint in work_dirs/tiny: starting from the beginning' in out
    # Without a validation, the line tells the loss.
    assert re.fullmatch(r'done: loss 0\.\d+; checkpoint: work_dirs/tiny/epoch_1\.pth', out.rstrip().splitlines()[-1])


def test_a_full_disk_ends_training_with_one_line(
    tool: Tool, classifier_config: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = AtomicLocalBackend.put

    def full(self: AtomicLocalBackend, obj: bytes, filepath: str) -> None:
        with monkeypatch.context() as patch:
            if 'epoch_2' in str(filepath):
                patch.setattr(os, 'fsync', lambda file: (_ for _ in ()).throw(OSError(errno.ENOSPC, 'No space left')))
            put(self, obj, filepath)

    monkeypatch.setattr(AtomicLocalBackend, 'put', full)
    main, options = tool('train'), ['--cfg-options', 'default_hooks.checkpoint.type=CheckpointHook']
    options += ['default_hooks.checkpoint.interval=1', 'default_hooks.checkpoint.max_keep_ckpts=1']
    err = run_and_catch(lambda: main([str(classifier_config), *options]), capsys)
    assert re.fullmatch(r'error: .*No space left: .*epoch_2\.pth was not saved\..* go on with --resume\n', err)
    assert read_checkpoint('work_dirs/tiny/epoch_1.pth')['meta']['epoch'] == 1
    assert not list(Path('work_dirs/tiny').glob('epoch_2*'))


def test_checkpoints_that_do_not_fit(tool: Tool, classifier_config: Path, capsys: pytest.CaptureFixture) -> None:
    train, test = tool('train'), tool('test')
    train([str(classifier_config), '--cfg-options', 'train_cfg.max_epochs=1'])
    path, config = 'work_dirs/tiny/epoch_1.pth', str(classifier_config)

    deeper = ['--cfg-options', 'model.backbone.depth=34']
    err = run_and_catch(lambda: test([config, path, *deeper]), capsys)
    assert re.fullmatch(
        r'error: the checkpoint is of another model than ImageClassifier .*missing, first backbone.*\n', err
    )
    err = run_and_catch(lambda: train([config, '--resume', path, *deeper]), capsys)
    assert 'is of another model' in err

    weights = {'state_dict': read_checkpoint(path)['state_dict']}
    torch.save(weights, 'weights.pth')
    test([config, 'weights.pth'])
    assert last_line(capsys).startswith('done: accuracy/top1')
    err = run_and_catch(lambda: train([config, '--resume', 'weights.pth']), capsys)
    assert re.search(r'error: checkpoint weights\.pth holds no meta, message_hub, .*load_from=weights\.pth', err)

    trace = Path('ran').resolve()
    torch.save({**weights, 'bad': Touch(trace)}, 'hostile.pth')
    err = run_and_catch(lambda: test([config, 'hostile.pth']), capsys)
    assert re.fullmatch(r'error: checkpoint hostile\.pth was not loaded: it asks for .*--trust-checkpoint\n', err)
    assert not trace.exists()
    test([config, 'hostile.pth', '--trust-checkpoint'])
    assert trace.exists()

    Path(path).write_bytes(b'')
    err = run_and_catch(lambda: train([config, '--resume']), capsys)
    assert re.fullmatch(r'error: no checkpoint in work_dirs/tiny can be resumed .*start again without --resume\n', err)


class Touch:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f'touch {self.path}',)


@pytest.mark.parametrize(
    'options, message',
    [
        (['model.head.type=LinearHead'], r'error: LinearHead is not in the mmpretrain::model registry\..*'),
        (['model.backbone.dept=18'], r'error: .*unexpected keyword argument .dept.*'),
        (['train_dataloader=None'], r'error: \S*tiny\.py has no train_dataloader; add it, or give another config'),
        (['train_dataloader.dataset.data_root=nowhere'], r'error: .*nowhere.*'),
    ],
)
def test_a_mistake_in_a_config_is_one_line(
    tool: Tool, classifier_config: Path, capsys: pytest.CaptureFixture, options: list[str], message: str
) -> None:
    main = tool('train')
    err = run_and_catch(lambda: main([str(classifier_config), '--cfg-options', *options]), capsys)
    assert re.fullmatch(message + r'\n', err)


@pytest.mark.parametrize(
    'text, message',
    [
        (None, r'error: .*broken\.py.*'),
        ('model = dict(', r'error: .*broken\.py.*'),
        ("_base_ = 'absent.py'", r'error: .*absent\.py.*'),
        ("custom_imports = dict(imports=['no_such_module'])", r'error: .*no_such_module.*'),
        ("default_scope = 'mmseg'", r'error: .*broken\.py has no model, test_dataloader, test_cfg, test_evaluator;.*'),
    ],
)
def test_a_config_that_cannot_be_used_is_one_line(
    tool: Tool, tmp_path: Path, capsys: pytest.CaptureFixture, text: str | None, message: str
) -> None:
    config, main = tmp_path / 'broken.py', tool('test')
    if text is not None:
        config.write_text(text + '\n')
    err = run_and_catch(lambda: main([str(config), 'any.pth']), capsys)
    assert re.fullmatch(message + r'\n', err)


def test_amp_refuses_an_optimizer_wrapper_of_the_users(tool: Tool, classifier_config: Path) -> None:
    with pytest.raises(ValueError, match='--amp replaces an optim_wrapper of type OptimWrapper, got ApexOptimWrapper'):
        tool('train')([str(classifier_config), '--amp', '--cfg-options', 'optim_wrapper.type=ApexOptimWrapper'])


def test_an_override_without_a_value_is_refused(
    tool: Tool, classifier_config: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        tool('train')([str(classifier_config), '--cfg-options', 'model.backbone'])
    assert '--cfg-options takes KEY=VALUE, got model.backbone' in capsys.readouterr().err


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return str(listener.getsockname()[1])


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_train_and_test_as_one(
    tool: Tool, classifier_config: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(name: str, *arguments: str) -> str:
        command = ['bash', str(ROOT / 'tools' / name), str(classifier_config), *arguments]
        path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
        environment = {**os.environ, 'PATH': path, 'PORT': free_port(), 'CUDA_VISIBLE_DEVICES': ''}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        assert 'Warning' not in done.stderr.replace('DeprecationWarning: `TorchScript`', '')  # PyTorch 2.4
        lines = [line for line in done.stdout.splitlines() if line.startswith('done: ')]
        assert len(lines) == 1  # from the first process only
        return lines[0]

    trained = script('dist_train.sh', '2', '--work-dir', 'two', '--cfg-options', 'train_cfg.max_epochs=1')
    assert trained.endswith('checkpoint: two/epoch_1.pth')
    # 7 images, batches of 3: two processes see 4 and 3, and the sampler repeats one image to make them equal.
    two = script('dist_test.sh', 'two/epoch_1.pth', '2', '--work-dir', 'two')
    capsys.readouterr()
    tool('test')([str(classifier_config), 'two/epoch_1.pth', '--work-dir', 'one'])
    assert last_line(capsys) == two
