"""A full disk or a killed run never costs the last whole checkpoint."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmposenc.host.atomic_checkpoint import AtomicCheckpointHook, AtomicLocalBackend
from mmposenc.host.checkpoints import last_whole_checkpoint, read_checkpoint
from mmposenc.host.patches import prepare_hosts


class Toy(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor, mode: str = 'tensor') -> Any:
        out = self.layer(x)
        return dict(loss=out.sum()) if mode == 'loss' else out


class Scores(BaseMetric):
    """Gives 1, 3, 2, ... as accuracy."""

    scores = (1.0, 3.0, 2.0)

    def __init__(self) -> None:
        super().__init__(prefix='toy')
        self.calls = 0

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict[str, float]:
        self.calls += 1
        return dict(acc=self.scores[self.calls - 1])


def train(work_dir: Path, epochs: int, resume: bool = False, **options: Any) -> None:
    loader = dict(
        batch_size=1,
        dataset=[dict(x=torch.ones(1))],
        sampler=dict(type='DefaultSampler'),
        collate_fn=dict(type='default_collate'),
    )
    Runner(
        Toy(),
        str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        val_cfg=dict(),
        val_evaluator=[Scores()],
        param_scheduler=[],
        default_hooks=dict(checkpoint=dict(type='mmposenc.AtomicCheckpointHook', interval=1, **options)),
        resume=resume,
        experiment_name=f'{work_dir.name}_{epochs}',
    ).train()


class FullDisk(io.FileIO):
    """A file that takes 100 bytes."""

    def write(self, data: Any) -> int:
        super().write(bytes(data[:100]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import mmposenc.host.atomic_checkpoint as module

    def opened(path: Path, mode: str) -> Any:
        return FullDisk(path, mode) if name in path.name else open(path, mode)

    monkeypatch.setattr(module, 'open', opened, raising=False)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if '.pth' in path.name}


def test_it_saves_and_removes_what_the_host_does(tmp_path: Path) -> None:
    train(tmp_path, 3, max_keep_ckpts=2, save_best='toy/acc')
    assert names(tmp_path) == {'epoch_2.pth', 'epoch_3.pth', 'best_toy_acc_epoch_2.pth'}
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_3.pth')
    assert read_checkpoint(tmp_path / 'epoch_3.pth')['meta']['epoch'] == 3


@pytest.mark.parametrize('full_at', ['epoch_2.pth', 'best_toy_acc_epoch_2.pth'])
def test_a_full_disk_leaves_the_last_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_at: str
) -> None:
    fill_disk(monkeypatch, full_at)
    with pytest.raises(OSError, match=rf'No space left on device: .*{full_at} was not saved.*go on with --resume'):
        train(tmp_path, 3, max_keep_ckpts=1, save_best='toy/acc')
    kept = names(tmp_path)
    # With room for one checkpoint, the host would have removed the old one first.
    last = 'epoch_1.pth' if full_at == 'epoch_2.pth' else 'epoch_2.pth'
    assert kept >= {last, 'best_toy_acc_epoch_1.pth'}
    assert not any(name.endswith('.part') for name in kept)
    path, reasons = last_whole_checkpoint(tmp_path)
    assert (path, reasons) == (tmp_path / last, [])
    for name in kept:
        read_checkpoint(tmp_path / name)


def test_it_goes_on_after_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hosts_unchanged: None) -> None:
    prepare_hosts()
    with monkeypatch.context() as patch:
        fill_disk(patch, 'epoch_2.pth')
        with pytest.raises(OSError, match='was not saved'):
            train(tmp_path, 2, max_keep_ckpts=1)
    train(tmp_path, 3, max_keep_ckpts=1, resume=True)
    assert names(tmp_path) == {'epoch_3.pth'}


def test_the_backend_replaces_a_file_only_by_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, path = AtomicLocalBackend(), tmp_path / 'new' / 'a.pth'
    backend.put(b'old', path)
    fill_disk(monkeypatch, 'a.pth')
    with pytest.raises(OSError, match=r'a\.pth was not saved') as info:
        backend.put(b'x' * 1000, path)
    assert info.value.errno == errno.ENOSPC
    assert path.read_bytes() == b'old'
    assert list(path.parent.iterdir()) == [path]


def test_an_outdated_file_that_is_written_anew_stays(tmp_path: Path) -> None:
    backend, one, two = AtomicLocalBackend(), tmp_path / 'one', tmp_path / 'two'
    for path in (one, two):
        backend.put(b'old', path)
        os.utime(path, (1000, 1000))
        backend.remove(path)
    assert one.exists()
    backend.put(b'new', one)
    backend.remove_outdated()
    assert one.read_bytes() == b'new'
    assert not two.exists()


def test_another_storage_is_left_to_the_host(tmp_path: Path) -> None:
    hook = AtomicCheckpointHook(backend_args=dict(backend='local'))

    class Run:
        work_dir = str(tmp_path)
        logger = type('Log', (), dict(info=lambda self, text: None))()

    hook.before_train(Run())
    assert hook.backend_args == dict(backend='local')
    assert not isinstance(hook.file_backend, AtomicLocalBackend)
