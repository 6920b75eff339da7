"""kill -9 in a training, then --resume: the same losses and weights, bit by bit, as without the kill."""

from collections.abc import Callable

import pytest
from runs import Run, read, same

from mmposenc.host.checkpoints import read_checkpoint

Start, Write = Callable[..., Run], Callable[..., str]
LAST = {'whole_batch': 'epoch_3.pth', 'classifier': 'epoch_3.pth', 'segmenter': 'iter_12.pth'}


@pytest.mark.slow
@pytest.mark.parametrize(
    'kind, killed_in, resumed_after', [('whole_batch', 13, 10), ('classifier', 7, 4), ('segmenter', 7, 4)]
)
def test_a_killed_training_goes_on_as_if_nothing_had_been(
    start: Start, config: Write, kind: str, killed_in: int, resumed_after: int
) -> None:
    assert start('train', config(kind, 'whole'), '--work-dir', 'whole').status() == 0
    kill = dict(type='SignalAt', name='SIGKILL', iteration=killed_in)
    assert start('train', config(kind, 'killed', kill), '--work-dir', 'killed').status() == -9
    again = start('train', config(kind, 'again'), '--work-dir', 'killed', '--resume')
    assert again.status() == 0, again.text()

    whole, resumed = read('whole.losses'), read('again.losses')
    position = next(i for i, line in enumerate(whole) if line.startswith(f'{resumed_after} '))
    assert resumed == whole[position + 1 :]
    losses = [line.split()[1] for line in whole if line[0].isdigit()]
    assert len(set(losses)) == len(losses)
    one, other = (read_checkpoint(f'{folder}/{LAST[kind]}') for folder in ('whole', 'killed'))
    for part in ('state_dict', 'optimizer', 'param_schedulers', 'random_states'):
        assert same(one[part], other[part]), part


@pytest.mark.slow
def test_a_config_without_a_seed_goes_on_with_that_of_its_checkpoint(start: Start, config: Write) -> None:
    seedless = 'randomness = dict(seed=None)'
    assert start('train', config('classifier', 'whole', lines=seedless), '--work-dir', 'whole').status() == 0
    again = config('classifier', 'again', lines=seedless)
    assert start('train', again, '--work-dir', 'again', '--resume', 'whole/epoch_2.pth').status() == 0
    # The order of the images, and so the loss, is drawn from the seed.
    assert read('again.losses') == read('whole.losses')[9:]


@pytest.mark.slow
def test_workers_that_end_with_their_epoch_draw_the_same_again(start: Start, config: Write) -> None:
    workers = 'train_dataloader.update(num_workers=1, persistent_workers=False)'
    assert start('train', config('classifier', 'whole', lines=workers), '--work-dir', 'whole').status() == 0
    again = config('classifier', 'again', lines=workers)
    assert start('train', again, '--work-dir', 'again', '--resume', 'whole/epoch_1.pth').status() == 0
    whole, resumed = (
        [line for line in read(f'{name}.losses') if not line.startswith('validated')] for name in ('whole', 'again')
    )
    assert resumed == whole[4:]
