"""Batches seen before are skipped without loading them, and a validation that was due is made up for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from torch.utils.data import DataLoader, IterableDataset
from toy_training import toy_runner

from mmposenc.host.patches import prepare_hosts
from mmposenc.host.resumable_loops import _batches_from

EPOCHS = dict(type='mmposenc.ResumableEpochLoop', max_epochs=3)
ITERS = dict(type='mmposenc.ResumableIterLoop', max_iters=17, val_interval=5)


@pytest.fixture(autouse=True)
def _safe(hosts_unchanged: None) -> None:
    prepare_hosts()


class Samples:
    """Ten samples, which notes what is loaded of them."""

    def __init__(self) -> None:
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        self.loaded.append(index)
        return index


class SaveAt(Hook):
    """Saves as a checkpoint hook that counts iterations does, at any of them."""

    priority = 'VERY_LOW'

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter + 1 == self.iteration:
            runner.save_checkpoint(runner.work_dir, 'here.pth', meta=dict(epoch=runner.epoch, iter=runner.iter + 1))


@pytest.mark.parametrize('start', [0, 1, 4, 5])
def test_the_rest_of_an_epoch(start: int) -> None:
    samples = Samples()
    loader = DataLoader(samples, batch_size=2, shuffle=False)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batches = _batches_from(loader, start)
    assert torch.equal(torch.get_rng_state(), before)
    assert [batch.tolist() for batch in batches] == [[i, i + 1] for i in range(2 * start, 10, 2)]
    assert samples.loaded == list(range(2 * start, 10))


def test_a_stream_is_read_up_to_the_place() -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Any:
            return iter(range(6))

    loader = DataLoader(Stream(), batch_size=None)
    assert list(_batches_from(loader, 4)) == [4, 5]


@pytest.mark.parametrize(
    'train_cfg, sampler', [(EPOCHS, 'DefaultSampler'), (ITERS, 'InfiniteSampler'), (ITERS, 'DefaultSampler')]
)
@pytest.mark.parametrize('place', [3, 5, 8])
def test_it_goes_on_from_any_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train_cfg: dict, sampler: str, place: int
) -> None:
    # mmengine waits where a finite sampler begins again.
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)
    runner, losses = toy_runner(tmp_path / 'a', train_cfg, SaveAt(place), sampler=sampler)
    runner.train()
    position = next(i for i, step in enumerate(losses.seen) if step[0] == place)
    file = str(tmp_path / 'a' / 'here.pth')
    runner, again = toy_runner(tmp_path / 'b', train_cfg, sampler=sampler, load_from=file, resume=True)
    runner.train()
    assert again.seen == losses.seen[position + 1 :]


def test_another_number_of_batches_begins_the_epoch_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runner, _ = toy_runner(tmp_path / 'a', EPOCHS, SaveAt(8))
    runner.train()
    runner, losses = toy_runner(tmp_path / 'b', EPOCHS, load_from=str(tmp_path / 'a' / 'here.pth'), resume=True)
    samples = [dict(x=torch.tensor([float(i)])) for i in range(6)]
    runner._train_dataloader['dataset'] = samples
    runner.train()
    assert [step[0] for step in losses.seen] == [9, 10, 11, 'val', 12, 13, 14, 'val']
    said = capsys.readouterr()
    message = 'the checkpoint is of epochs of 5 batches, this run has 3: the epoch begins again'
    assert (said.out + said.err).count(message) == 1


def test_a_validation_that_was_due_is_made_up_for_and_one_that_is_in_the_checkpoint_is_not(tmp_path: Path) -> None:
    best = dict(type='mmposenc.AtomicCheckpointHook', interval=1, save_best='count', rule='less')
    runner, _ = toy_runner(tmp_path / 'a', EPOCHS, default_hooks=dict(checkpoint=best))
    runner.train()
    # The host prints every entry whose name begins with that of a mode.
    notes = runner.message_hub.runtime_info
    assert 'iter_validated' in notes
    assert not [name for name in notes if name.startswith(('train', 'val', 'test')) and '/' not in name]
    # Saved again after the validation of the first epoch, which gave the best figure; then before the validation.
    for name, expected in (('epoch_1', [6, 7, 8, 9, 10, 'val']), ('epoch_2', ['val', 11, 12, 13, 14, 15, 'val'])):
        file = str(tmp_path / 'a' / f'{name}.pth')
        runner, losses = toy_runner(tmp_path / name, EPOCHS, load_from=file, resume=True)
        runner.train()
        assert [step[0] for step in losses.seen][: len(expected)] == expected
    runner, losses = toy_runner(tmp_path / 'end', EPOCHS, load_from=str(tmp_path / 'a' / 'epoch_3.pth'), resume=True)
    runner.train()
    assert losses.seen == [('val', 15)]


@pytest.mark.parametrize('train_cfg', [EPOCHS, ITERS])
def test_hooks_hear_of_the_end_after_an_exception(tmp_path: Path, train_cfg: dict) -> None:
    heard = []

    class Failing(Hook):
        def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError('in the middle')

        def after_training(self, runner: Any) -> None:
            heard.append(runner.iter)

    runner, _ = toy_runner(tmp_path / 'a', train_cfg, Failing())
    with pytest.raises(RuntimeError, match='in the middle'):
        runner.train()
    assert heard == [0]
