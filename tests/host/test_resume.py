"""A resumed training is the uninterrupted one, and a full disk never costs the last whole checkpoint."""

import errno
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from toy_training import toy_runner, train

from mmposenc import results
from mmposenc.host.checkpoints import last_whole_checkpoint, read_checkpoint
from mmposenc.host.resume import AtomicLocalBackend, kept_random_state, read_random_state, set_random_state

EPOCHS = dict(type='mmposenc.ResumableEpochLoop', max_epochs=3)
ITERS = dict(type='mmposenc.ResumableIterLoop', max_iters=17, val_interval=5)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if '.pth' in path.name}


def checkpoints(**options: Any) -> dict:
    best = dict(interval=1, save_best='score', rule='greater')
    return dict(default_hooks=dict(checkpoint=dict(type='mmposenc.AtomicCheckpointHook', **best, **options)))


def fill_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Half of a file of that name is written, then the disk is full."""
    write_bytes = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if name not in path.name:
            return write_bytes(path, data)
        write_bytes(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(results.Path, 'write_bytes', full)


def test_it_saves_and_removes_what_mmengine_does(tmp_path: Path) -> None:
    train(tmp_path, EPOCHS, **checkpoints(max_keep_ckpts=2))  # The scores are 1, 3 and 2.
    assert names(tmp_path) == {'epoch_2.pth', 'epoch_3.pth', 'best_score_epoch_2.pth'}
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_3.pth')
    assert read_checkpoint(tmp_path / 'epoch_3.pth')['meta']['epoch'] == 3


@pytest.mark.parametrize('full_at', ['epoch_2.pth', 'best_score_epoch_2.pth'])
def test_a_full_disk_leaves_the_last_whole_checkpoint(tmp_path: Path, monkeypatch, full_at: str) -> None:
    with monkeypatch.context() as patch:
        fill_disk(patch, f'.{full_at}')
        with pytest.raises(OSError, match=rf'No space left on device: .*{full_at} was not saved.* --resume') as info:
            train(tmp_path, EPOCHS, **checkpoints(max_keep_ckpts=1))
    assert info.value.errno == errno.ENOSPC
    # With room for one checkpoint, mmengine would have removed the old one first.
    last = 'epoch_1.pth' if full_at == 'epoch_2.pth' else 'epoch_2.pth'
    assert names(tmp_path) == {last, 'best_score_epoch_1.pth'}, 'nothing half-written'
    assert last_whole_checkpoint(tmp_path) == (tmp_path / last, [])
    train(tmp_path, EPOCHS, resume=True, **checkpoints(max_keep_ckpts=1))
    assert names(tmp_path) >= {'epoch_3.pth'}
    assert 'epoch_1.pth' not in names(tmp_path)


def test_an_outdated_file_that_is_written_anew_stays(tmp_path: Path) -> None:
    backend, one, two = AtomicLocalBackend(), tmp_path / 'one', tmp_path / 'two'
    for path in (one, two):
        backend.put(b'old', path)
        backend.remove(path)
    assert one.exists()
    AtomicLocalBackend().put(b'new', one)  # mmengine makes another
    backend.remove_outdated()
    assert one.read_bytes() == b'new'
    assert not two.exists()


def draws() -> list:
    numbers = [np.random.rand(), np.random.randn(), random.random(), random.gauss(0, 1)]
    return [*numbers, *torch.rand(3).tolist(), torch.randn(1).item()]


def test_all_generators_continue_from_a_checkpoint(tmp_path: Path) -> None:
    with kept_random_state():
        draws()  # Leaves numpy and Python with half a pair of normal numbers.
        torch.save({'state_dict': {}, 'rng_states': [read_random_state()]}, tmp_path / 'a.pth')
        expected = [draws() for _ in range(3)]
        assert expected[0] != expected[1]
        set_random_state(read_checkpoint(tmp_path / 'a.pth')['rng_states'][0])
        assert [draws() for _ in range(3)] == expected


@pytest.mark.gpu
def test_the_gpu_continues_too() -> None:
    state = read_random_state()
    expected = torch.rand(5, device='cuda').tolist()
    assert torch.rand(5, device='cuda').tolist() != expected
    # As `Runner.resume` loads it.
    set_random_state({**state, 'cuda': state['cuda'].cuda(), 'torch': state['torch'].cuda()})
    assert torch.rand(5, device='cuda').tolist() == expected


class SaveAt(Hook):
    """Saves as a checkpoint hook that counts iterations does, at any of them."""

    priority = 'VERY_LOW'

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter + 1 == self.iteration:
            runner.save_checkpoint(runner.work_dir, 'here.pth', meta=dict(epoch=runner.epoch, iter=runner.iter + 1))


@pytest.mark.parametrize(
    'train_cfg, sampler', [(EPOCHS, 'DefaultSampler'), (ITERS, 'InfiniteSampler'), (ITERS, 'DefaultSampler')]
)
@pytest.mark.parametrize('place', [3, 5, 8])
def test_it_resumes_from_any_iteration(tmp_path: Path, monkeypatch, train_cfg: dict, sampler: str, place: int) -> None:
    # mmengine waits where a finite sampler begins again.
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)
    _, whole = train(tmp_path / 'a', train_cfg, SaveAt(place), sampler=sampler)
    assert [step[1] for step in whole if step[0] == 'val'] == [5, 10, 15, 17][: 3 if train_cfg is EPOCHS else 4]
    position = next(i for i, step in enumerate(whole) if step[0] == place)
    file = str(tmp_path / 'a' / 'here.pth')
    runner, again = train(tmp_path / 'b', train_cfg, sampler=sampler, load_from=file, resume=True)
    assert again == whole[position + 1 :]
    trained = [sample for step in again if step[0] != 'val' for sample in step[2]]
    if (train_cfg, sampler) != (ITERS, 'DefaultSampler'):
        assert runner.train_loop.dataloader.dataset.loaded == trained, 'the batches that were seen are not loaded again'


@pytest.mark.parametrize('states, found', [(0, 'holds no random state'), (4, 'is of 4 processes, this run has 1')])
def test_a_random_state_that_does_not_fit_is_said(tmp_path: Path, capsys, states: int, found: str) -> None:
    _, whole = train(tmp_path / 'a', EPOCHS)
    checkpoint = read_checkpoint(tmp_path / 'a' / 'epoch_1.pth')
    checkpoint['rng_states'] = checkpoint['rng_states'] * states or None
    torch.save(checkpoint, tmp_path / 'other.pth')
    capsys.readouterr()
    _, again = train(tmp_path / 'b', EPOCHS, load_from=str(tmp_path / 'other.pth'), resume=True)
    said = capsys.readouterr()
    assert f'the checkpoint {found}: augmentations start from new random numbers' in said.out + said.err
    assert [step[0] for step in again] == [step[0] for step in whole[5:]]
    assert again != whole[5:]


def test_when_it_is_validated_does_not_change_a_training(tmp_path: Path) -> None:
    often, seldom = (train(tmp_path / str(n), {**EPOCHS, 'val_interval': n})[1] for n in (1, 100))
    assert [step for step in often if step[0] != 'val'] == [step for step in seldom if step[0] != 'val']


def test_weights_to_begin_with_bring_no_random_state(tmp_path: Path) -> None:
    train(tmp_path / 'a', EPOCHS)
    _, loaded = train(tmp_path / 'b', EPOCHS, load_from=str(tmp_path / 'a' / 'epoch_2.pth'))
    runner, given = toy_runner(tmp_path / 'c', EPOCHS)
    runner.model.load_state_dict(read_checkpoint(tmp_path / 'a' / 'epoch_2.pth')['state_dict'])
    runner.train()
    assert loaded == given.seen


def test_another_number_of_batches_begins_the_epoch_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path / 'a', EPOCHS, SaveAt(8))
    runner, losses = toy_runner(tmp_path / 'b', EPOCHS, load_from=str(tmp_path / 'a' / 'here.pth'), resume=True)
    runner._train_dataloader['dataset'] = [dict(x=torch.tensor([float(i)])) for i in range(6)]
    runner.train()
    assert [step[0] for step in losses.seen] == [9, 10, 11, 'val', 12, 13, 14, 'val']
    said = capsys.readouterr()
    message = 'the checkpoint is of batch 3 of 5, this run has a loader of 3 batches'
    assert (said.out + said.err).count(message) == 1


def test_a_validation_that_was_due_is_made_up_for_and_one_that_is_in_the_checkpoint_is_not(tmp_path: Path) -> None:
    runner, whole = train(tmp_path / 'a', EPOCHS, **checkpoints(max_keep_ckpts=-1))
    # mmengine prints every entry whose name begins with that of a mode.
    notes = runner.message_hub.runtime_info
    assert not [name for name in notes if name.startswith(('train', 'val', 'test')) and '/' not in name]
    # The first was saved again in its validation, which gave the best figures; the last before its validation.
    for name, rest in (('epoch_1', whole[6:]), ('epoch_3', whole[-1:])):
        file = str(tmp_path / 'a' / f'{name}.pth')
        assert train(tmp_path / name, EPOCHS, load_from=file, resume=True)[1] == rest
