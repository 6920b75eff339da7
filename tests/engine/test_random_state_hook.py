"""The random numbers of a resumed training are those of the uninterrupted one."""

from pathlib import Path

import pytest
import torch
from toy_training import toy_runner

from mmposenc.host.checkpoints import read_checkpoint
from mmposenc.host.patches import prepare_hosts

EPOCHS = dict(type='mmposenc.ResumableEpochLoop', max_epochs=3)


@pytest.fixture(autouse=True)
def _safe(hosts_unchanged: None) -> None:
    prepare_hosts()


def resume(folder: Path, checkpoint: Path, **options: object) -> list:
    runner, losses = toy_runner(folder, EPOCHS, load_from=str(checkpoint), **options)
    runner.train()
    return losses.seen


def test_a_resumed_training_draws_what_the_whole_one_drew(tmp_path: Path) -> None:
    runner, losses = toy_runner(tmp_path / 'a', EPOCHS)
    runner.train()
    assert [step[0] for step in losses.seen] == [*range(1, 6), 'val', *range(6, 11), 'val', *range(11, 16), 'val']
    assert len(read_checkpoint(tmp_path / 'a' / 'epoch_1.pth')['random_states']) == 1
    assert resume(tmp_path / 'b', tmp_path / 'a' / 'epoch_1.pth', resume=True) == losses.seen[5:]


def test_when_it_is_validated_does_not_change_a_training(tmp_path: Path) -> None:
    trained = []
    for interval in (1, 2, 100):
        runner, losses = toy_runner(tmp_path / str(interval), {**EPOCHS, 'val_interval': interval})
        runner.train()
        trained.append([step for step in losses.seen if step[0] != 'val'])
    assert trained[0] == trained[1] == trained[2]


def test_weights_to_begin_with_bring_no_random_state(tmp_path: Path) -> None:
    runner, _ = toy_runner(tmp_path / 'a', EPOCHS)
    runner.train()
    once, twice = (resume(tmp_path / name, tmp_path / 'a' / f'epoch_{name}.pth') for name in ('1', '2'))
    assert [step[2] for step in once if step[0] != 'val'] == [step[2] for step in twice if step[0] != 'val']
    runner, losses = toy_runner(tmp_path / 'c', EPOCHS)
    runner.model.load_state_dict(read_checkpoint(tmp_path / 'a' / 'epoch_2.pth')['state_dict'])
    runner.train()
    assert losses.seen == twice


@pytest.mark.parametrize(
    'states, message',
    [
        (None, 'the checkpoint holds no random state: augmentations are drawn anew'),
        (4, 'the checkpoint is of 4 processes, this run has 1: augmentations are drawn anew'),
    ],
)
def test_a_state_that_does_not_fit_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture, states: int | None, message: str
) -> None:
    runner, losses = toy_runner(tmp_path / 'a', EPOCHS)
    runner.train()
    checkpoint = read_checkpoint(tmp_path / 'a' / 'epoch_1.pth')
    kept = checkpoint.pop('random_states')
    if states:
        checkpoint['random_states'] = kept * states
    torch.save(checkpoint, tmp_path / 'other.pth')
    capsys.readouterr()
    again = resume(tmp_path / 'b', tmp_path / 'other.pth', resume=True)
    said = capsys.readouterr()
    assert message in said.out + said.err
    assert [step[0] for step in again] == [step[0] for step in losses.seen[5:]]
    assert again != losses.seen[5:]
