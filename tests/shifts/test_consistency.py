"""shift_consistency with classifiers whose figures can be worked out, however the images come."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from mmposenc.shifts import ConsistencyCard, shift_consistency

SHIFTING = ['zero_ref', 'zero_pair', 'roll_ref', 'roll_pair', 'reflect_ref', 'reflect_pair']
SETTING = {'max_shifts': [1, 3], 'protocols': [*SHIFTING, 'crop_pair'], 'crop_size': 4, 'seed': 7}


class PixelClassifier(nn.Module):
    """Its prediction is the value of one pixel of the first channel; in training, always 0."""

    def __init__(self, row, column, classes):
        super().__init__()
        self.row, self.column, self.classes = row, column, classes
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images):
        value = images[:, 0, self.row, self.column].round().long() * (not self.training)
        return nn.functional.one_hot(value, self.classes).float() * self.weight


def random_data(number=23, side=6, classes=3):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, classes, (number, 3, side, side), generator=generator).float()
    return TensorDataset(images, torch.randint(0, classes, (number,), generator=generator))


def measure(data, model=None, batch_size=4, **setting):
    model = PixelClassifier(1, 2, 3) if model is None else model
    return shift_consistency(model, DataLoader(data, batch_size), **setting)


def same(card, other):
    return str(card.table()) == str(other.table()) and torch.equal(card.counts, other.counts)  # NaN is not NaN


def test_worked_out_by_hand(monkeypatch):
    """Four times the image 0..15 (4x4); the pixel at (1, 1) says 5 and, shifted by (dy, dx), 5 - 4 dy - dx."""
    images = torch.arange(16.0).view(1, 1, 4, 4).expand(4, 3, 4, 4)
    tables = {
        'ref': torch.tensor([[[0, 0]], [[1, 0]], [[2, 0]], [[0, -1]]]),
        'pair': torch.tensor([[[0, 0], [1, 0]], [[2, 0], [0, 2]], [[1, 0], [1, 0]], [[0, -1], [0, -1]]]),
    }
    monkeypatch.setattr('mmposenc.shifts.protocols.draw_shifts', lambda name, *_: tables[name.split('_')[1]])
    data = TensorDataset(images, torch.tensor([5, 5, 5, 6]))
    card = measure(data, PixelClassifier(1, 1, 16), batch_size=3, max_shifts=[2], protocols=SHIFTING)
    assert card.top1 == 75
    shown = {row['protocol']: (row['consistency'], row['consistency_correct']) for row in card.table()}
    assert shown == {
        # Second views see 5, 1, (outside: 0 | 13 | 5), 6; the first sees 5 = the label of three.
        'zero_ref': (25.0, pytest.approx(100 / 3)),
        'roll_ref': (25.0, pytest.approx(100 / 3)),
        'reflect_ref': (50.0, pytest.approx(200 / 3)),
        # (5, 1), ((0, 0) | (13, 7) | (5, 5)), (1, 1), (6, 6); the labels are 5, 5, 5, 6.
        'zero_pair': (75.0, 50.0),
        'roll_pair': (50.0, 50.0),
        'reflect_pair': (75.0, pytest.approx(200 / 3)),
    }
    row = card.table()[4]
    assert (row['protocol'], row['max_shift'], row['images']) == ('reflect_ref', 2, 4)
    assert row['consistency_low'] == pytest.approx(15.004, abs=1e-3)  # 2 of 4
    assert row['consistency_high'] == pytest.approx(84.996, abs=1e-3)
    assert row['consistency_correct_low'] == pytest.approx(20.766, abs=1e-3)  # 2 of 3


class TestInvariance:
    """One card, however the images come."""

    @pytest.fixture
    def expected(self):
        card = measure(random_data(), batch_size=23, **SETTING)
        assert len({row['consistency'] for row in card.table()}) > 5
        return card

    def test_any_iterable_of_any_batches(self, expected):
        images, labels = random_data().tensors
        model = PixelClassifier(1, 2, 3)
        dicts = [{'pixel_values': images[:9], 'labels': labels[:9]}, {'pixel_values': images[9:], 'label': labels[9:]}]
        assert same(shift_consistency(model, dicts, **SETTING), expected)
        whole = DataLoader([(images[:9], labels[:9]), (images[9:], labels[9:])], batch_size=None)
        assert same(shift_consistency(model, whole, **SETTING), expected)
        options = dict(unpack=lambda batch: (batch['a']['x'], batch['y']), forward=lambda x: {'logits': model(x)})
        assert same(shift_consistency(model, [{'a': {'x': images}, 'y': labels}], **SETTING, **options), expected)

    def test_wrapped_compiled_and_training(self, expected):
        model = PixelClassifier(1, 2, 3).train()
        for wrapped, batch_size in ((nn.DataParallel(model), 1), (torch.compile(model, backend='eager'), 100)):
            assert same(measure(random_data(), wrapped, batch_size, **SETTING), expected)
            assert model.training

    def test_what_else_is_measured_and_the_seed(self, expected):
        setting = {**SETTING, 'max_shifts': [3], 'protocols': ['crop_pair', 'roll_pair']}
        rows = measure(random_data(), **setting).table()
        assert [row['max_shift'] for row in rows] == [None, 3]
        assert all(row in expected.table() for row in rows)
        assert measure(random_data(), **{**SETTING, 'seed': 8}).table() != expected.table()

    @pytest.mark.parametrize('number', [1, 22, 23])
    def test_two_processes(self, tmp_path, number):
        """Also where the sampler repeats an image, or a process has nothing but the repetition."""
        expected = measure(random_data(number), **SETTING)
        mp.start_processes(_rank, (tmp_path, number), 2, start_method='fork')
        for rank in range(2):
            assert same(ConsistencyCard.load(tmp_path / f'{rank}.json'), expected)


def _rank(rank, folder, number):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2)
    data = random_data(number)
    loader = DataLoader(data, 5, sampler=DistributedSampler(data, shuffle=False))
    shift_consistency(PixelClassifier(1, 2, 3), loader, **SETTING).save(folder / f'{rank}.json')
    with pytest.raises(ValueError, match='2 processes would get all images'):
        measure(data, **SETTING)
    dist.barrier()
    dist.destroy_process_group()


def test_the_card_is_saved_and_drawn(tmp_path):
    card = measure(random_data(), **SETTING)
    loaded = ConsistencyCard.load(card.save(tmp_path / 'card.json'))
    assert same(loaded, card)
    assert (loaded.seed, loaded.crop_size) == (7, 4)
    axes = card.plot().axes[0]
    assert not axes.spines['top'].get_visible(), 'in the style of all figures'
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ['zero_ref, 1 px', 'zero_ref, 3 px']
    drawn = axes.containers[0].lines[0].get_xdata()
    assert drawn.tolist() == pytest.approx([row['consistency'] for row in card.table()])


def test_nothing_correct_is_not_a_number():
    card = measure(TensorDataset(torch.zeros(5, 3, 9, 9), torch.ones(5).long()))
    (row,) = card.table()
    assert (row['top1'], row['consistency']) == (0, 100)
    assert math.isnan(row['consistency_correct'])
    assert (row['consistency_correct_low'], row['consistency_correct_high']) == (0, 100)
    assert (row['top1_low'], row['top1_high']) == (0, pytest.approx(43.449, abs=1e-3))  # 0 of 5


IMAGES, LABELS = torch.zeros(5, 3, 9, 9), torch.zeros(5).long()
CONSTANT = PixelClassifier(0, 0, 3)


@pytest.mark.parametrize('loader, options, message', [
    (DataLoader(TensorDataset(IMAGES, LABELS), 2, shuffle=True), {}, 'shuffle=False, got RandomSampler'),
    (DataLoader(TensorDataset(IMAGES, LABELS), 2, drop_last=True), {}, 'got 4 of 5; set drop_last=False'),
    (DataLoader(TensorDataset(IMAGES, LABELS), batch_sampler=[[4, 0], [1, 2, 3]]), {}, 'got list'),
    ([(IMAGES.byte(), LABELS)], {}, 'floating point, got torch.uint8'),
    ([(IMAGES, LABELS), (IMAGES[..., 1:], LABELS)], {}, r'one size, got \[\(3, 9, 8\), \(3, 9, 9\)\]'),
    ([IMAGES], {}, r'labels \(5,\) of integers, got NoneType'),
    ([(IMAGES, LABELS[:4])], {}, r'labels \(5,\) of integers, got torch.int64 \(4,\)'),
    ([(IMAGES, LABELS + 3)], {}, 'labels must be from 0 to 2, the classes of the model, got 3 to 3'),
    ([(IMAGES, LABELS - 1)], {}, 'got -1 to -1'),
    ([(IMAGES, LABELS)], {'forward': lambda x: x}, r'scores \(5, classes\) of two or more classes, got \(5, 3, 9,'),
    ([(IMAGES, LABELS)], {'forward': lambda x: x[:, 0, 0, :1]}, 'two or more classes'),
    ([(IMAGES, LABELS)], {'forward': lambda x: x[:, 0, 0] / x[:, 1, 1]}, 'got NaN for 5 of 5 images'),
    ([(IMAGES, LABELS)], {'max_shifts': [9]}, r'smaller than the image \(9x9 px\), got 9'),
])  # fmt: skip
def test_bad_input(loader, options, message):
    with pytest.raises(ValueError, match=message):
        shift_consistency(CONSTANT, loader, **options)


def test_a_network_that_writes_into_its_input():
    class InPlace(PixelClassifier):
        def forward(self, images):
            return super().forward(images.sub_(1).clamp_(min=0))

    class OutOfPlace(PixelClassifier):
        def forward(self, images):
            return super().forward((images - 1).clamp(min=0))

    setting = dict(max_shifts=[2], protocols=SHIFTING)
    one, other = (measure(random_data(), each(1, 2, 3), **setting) for each in (InPlace, OutOfPlace))
    assert str(one.table()) == str(other.table())
