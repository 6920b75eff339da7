"""Batches of every kind, scores among outputs of every kind, and results on file."""

from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from mmposenc.batches import evaluating, model_device, read_batch, read_batches, read_logits
from mmposenc.results import Result

IMAGES, LABELS = torch.rand(2, 3, 4, 4), torch.tensor([1, 0])


@pytest.mark.parametrize('batch, targets', [
    (IMAGES, None),
    ((IMAGES,), None),
    ([IMAGES, LABELS], LABELS),
    ((IMAGES, LABELS, ['a.png', 'b.png']), LABELS),
    ((list(IMAGES), LABELS), LABELS),
    ({'image': IMAGES, 'label': LABELS}, LABELS),
    ({'pixel_values': IMAGES, 'labels': LABELS}, LABELS),
    ({'inputs': tuple(IMAGES), 'path': 'x'}, None),
])  # fmt: skip
def test_batches_of_every_kind(batch, targets):
    images, found = read_batch(batch)
    assert torch.equal(images, IMAGES)
    assert found is targets
    assert read_batch(SimpleNamespace(a=IMAGES, b=LABELS), lambda batch: (batch.a, batch.b)) == (IMAGES, LABELS)


@pytest.mark.parametrize('batch, message', [
    ([], 'got list: pass unpack='),
    ({}, r'must hold one of the keys image, .*, got none: pass unpack='),
    ({'image': IMAGES, 'img': IMAGES}, r'must hold one of the keys image, .*, got image, img'),
    ({'image': IMAGES, 'label': LABELS, 'mask': LABELS}, 'must hold one of the keys label, .*, got image, label'),
    ('images', 'got str'),
    (IMAGES[0], r'got one image \(3, 4, 4\): set batch_size .* or add an axis: image\[None\]'),
    ((IMAGES[0], IMAGES[1]), r'got one image \(3, 4, 4\)'),  # an unbatched pair of image and depth
    ((list(IMAGES[0]), LABELS), r'got one image \(3, 4, 4\)'),
    (([IMAGES[0], IMAGES[1, :, 1:]], LABELS), r'must have one size, got \[\(3, 3, 4\), \(3, 4, 4\)\]'),
    ((IMAGES.byte(), LABELS), r'in floating point, got torch.uint8 \(2, 3, 4, 4\)'),
])  # fmt: skip
def test_what_is_no_batch(batch, message):
    with pytest.raises(ValueError, match=message):
        read_batch(batch)


@pytest.mark.parametrize('output', [
    LABELS,
    OrderedDict(out=LABELS, aux=IMAGES),
    {'logits': LABELS, 'out': IMAGES},
    SimpleNamespace(loss=None, logits=LABELS),
    (LABELS, IMAGES),
    [{'out': LABELS}],
])  # fmt: skip
def test_scores_of_every_kind_of_output(output):
    assert read_logits(output) is LABELS


@pytest.mark.parametrize('output', [None, {}, [], {'scores': LABELS}, SimpleNamespace(logits=None)])
def test_outputs_without_scores(output):
    with pytest.raises(ValueError, match=r'must give scores: a tensor, a dict .* pass forward='):
        read_logits(output)


def test_read_batches_gives_each_image_once_and_its_place():
    data = TensorDataset(torch.arange(5.0).view(5, 1, 1, 1), torch.arange(5))
    batches = list(read_batches(DataLoader(data, 2)))
    assert [(batch.position, batch.step, len(batch.images)) for batch in batches] == [(0, 1, 2), (2, 1, 2), (4, 1, 1)]
    seen = []  # what a sampler repeats is left out
    for rank in range(4):
        sampler = DistributedSampler(data, num_replicas=4, rank=rank, shuffle=True, seed=3)
        for batch in read_batches(DataLoader(data, 2, sampler=sampler)):
            assert batch.images.flatten().tolist() == batch.targets.tolist()
            seen += batch.targets.tolist()
    assert sorted(seen) == list(range(5))
    whole = DataLoader([(IMAGES, LABELS)] * 4, batch_size=None)  # each item is a batch
    assert sum(len(batch.images) for batch in read_batches(whole)) == 8
    dealt = DataLoader(whole.dataset, batch_size=None, sampler=DistributedSampler(whole.dataset, 2, 0))
    with pytest.raises(ValueError, match='DistributedSampler needs batches: set batch_size'):
        list(read_batches(dealt))


def test_with_several_processes_each_needs_its_share(monkeypatch):
    monkeypatch.setattr(distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(distributed, 'get_rank', lambda *group: 1)
    monkeypatch.setattr(distributed, 'get_world_size', lambda *group: 2)
    data = TensorDataset(IMAGES, LABELS)
    for loader in (DataLoader(data, 2), DataLoader(data, 2, shuffle=True)):
        with pytest.raises(ValueError, match=r'each of the 2 processes would get all images: .*DistributedSampler'):
            next(read_batches(loader))
    first, second = read_batches([IMAGES, IMAGES])  # a list that the caller has dealt out
    assert (first.position, second.position, second.step) == (1, 1 + 2 * len(IMAGES), 2)


def test_read_batches_meets_the_model_and_refuses_an_empty_loader():
    model = nn.Conv2d(3, 4, 1).bfloat16()
    (batch,) = read_batches([IMAGES], model=model)
    assert batch.images.dtype == torch.bfloat16
    assert [len(batch.images) for batch in read_batches([IMAGES[:0], IMAGES])] == [len(IMAGES)]
    assert model_device(model) == model_device(nn.ReLU()) == torch.device('cpu')
    with pytest.raises(ValueError, match='the loader gave no images: the data set or the subset is empty'):
        list(read_batches([]))


def test_evaluation_mode_is_as_it_was_afterwards():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()).train()
    model[1].eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    with pytest.raises(RuntimeError, match='inside'), evaluating(model):
        raise RuntimeError('inside')
    assert [module.training for module in model.modules()] == [True, True, False]


@dataclass(frozen=True)
class Figures(Result):
    FORMAT: ClassVar[str] = 'mmposenc.figures/1'

    name: str
    values: Tensor
    rows: tuple[tuple[str, float | None], ...]
    options: dict[str, Any]

    def table(self) -> list[dict[str, Any]]:
        return [dict(name=f'<{name}>', value=value) for name, value in self.rows]


def test_results_come_back_from_their_file_as_they_were(tmp_path):
    values = torch.tensor([[1 / 3, float('nan')], [float('inf'), 1e-300]], dtype=torch.float64)
    options = {'empty': torch.zeros(0, 3, dtype=torch.int64), 'mask': torch.tensor(True), 'bad': float('-inf')}
    options['seed'] = np.int64(3)
    figures = Figures('x', values, (('a', 0.1), ('b', None)), options)
    loaded = Figures.load(figures.save(tmp_path / 'figures.json'))
    assert (loaded.name, loaded.rows) == (figures.name, figures.rows)
    torch.testing.assert_close(loaded.values, values, rtol=0, atol=0, equal_nan=True)
    assert loaded.options['empty'].shape == (0, 3)
    assert (loaded.options['mask'].dtype, loaded.options['bad']) == (torch.bool, float('-inf'))
    assert loaded.options['seed'] == 3
    assert loaded._repr_html_() == (
        '<table><thead><tr><th>name</th><th>value</th></tr></thead><tbody>'
        '<tr><td>&lt;a&gt;</td><td>0.1</td></tr><tr><td>&lt;b&gt;</td><td></td></tr></tbody></table>'
    )
