"""The result of a sweep, by hand, and `sweep_channels` against plain forwards with the channels ablated."""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import planted_net
from planted import some_ranking as ranking
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from mmposenc.chance import chance_test
from mmposenc.channels import ablate_channels, rank_channels
from mmposenc.channels.sweep import Rates, Sweep, SweepPlan, Top1, make_metric, sweep_channels
from mmposenc.channels.sweep_result import SweepFolder

LAYER = 'body.maps'


def rates(plan: SweepPlan, hits: Tensor) -> Sweep:
    """A sweep of Top-1 from hits (images, runs)."""
    return Sweep(plan, Rates(['top1']).count(hits[..., None], None), Top1(), {'model': 'net'})


def sweep_by_hand() -> Sweep:
    """Two images; runs: whole, one at N = 2, random draws 0 and 1 at N = 2."""
    plan = SweepPlan({'one': ranking([5, 4, 3, 2, 1])}, None, [0, 2], num_random=2)
    return rates(plan, torch.tensor([[1, 0, 1, 0], [1, 0, 1, 1]]))


def test_figures_curves_and_harm_by_hand() -> None:
    sweep = sweep_by_hand()
    assert (sweep.layers, sweep.rankings, sweep.metrics, sweep.regions) == ([LAYER], ['one'], ['top1'], ['overall'])
    assert sweep.values().tolist() == [100, 0, 100, 100, 100, 50]
    assert (sweep.summary(), sweep.whole()) == ({'top1': 100}, 100)
    one, random = sweep.curves()
    assert (one.ranking, one.sizes, one.values.tolist(), one.draws) == ('one', (0, 2), [100, 0], None)
    assert (random.ranking, random.kind, random.values.tolist()) == ('random', 'top', [100, 75])
    assert random.draws is not None
    assert random.draws.tolist() == [[100, 100], [100, 50]]
    assert sweep.harm('one').tolist() == [0, 100]
    assert sweep.random_harm().tolist() == [[0, 0], [0, 50]]
    assert sweep.claims() == [], 'two random orders are too few for a test'


def test_the_table_and_the_files(tmp_path: Path) -> None:
    sweep = sweep_by_hand()
    assert sweep.table()[5] == dict(
        layer=LAYER, ranking='random', of='', draw=1, kind='top', start=0, num_channels=2, region='overall', top1=50
    )
    sweep.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['sweep.csv', 'sweep.json', 'sweep_counts.npz']
    with open(tmp_path / 'sweep.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['top1'] for row in rows] == [f'{value:.6f}' for value in sweep.values().tolist()]
    again = Sweep.load(tmp_path)
    assert (again.table(), again.about) == (sweep.table(), {'model': 'net'})
    (tmp_path / 'claims.csv').write_text('of another sweep')
    sweep.save(tmp_path)
    assert not (tmp_path / 'claims.csv').exists()
    again.save(tmp_path / 'again')
    assert (tmp_path / 'again' / 'sweep.json').read_bytes() == (tmp_path / 'sweep.json').read_bytes()


def test_a_save_that_fails_leaves_no_counts_of_another_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = sweep_by_hand()
    sweep.save(tmp_path)
    monkeypatch.setattr('numpy.savez_compressed', lambda *args, **arrays: (_ for _ in ()).throw(OSError('no space')))
    for about, left in ((sweep.about, True), ({'model': 'another'}, False)):
        with pytest.raises(OSError, match='no space'):
            dataclasses.replace(sweep, about=about).save(tmp_path)
        assert (tmp_path / 'sweep_counts.npz').exists() is left


def test_claims_are_chance_tests_against_both_nulls() -> None:
    strength = {LAYER: [0.0, 1, 2, 3, 4] * 4}
    plan = SweepPlan({'one': ranking(range(20))}, None, [2, 5], num_random=19, num_matched=19, activation=strength)
    generator = torch.Generator().manual_seed(0)
    hits = torch.rand(50, plan.num_runs, generator=generator) < 0.7
    hits[:, 0] = True
    hits[:, 1:3] = False  # Both N of the ranking.
    sweep = rates(plan, hits)
    (row,) = sweep.claims()
    assert (row['harm'], row['random_p'], row['matched_p']) == (100, 0.05, 0.05)
    test = sweep.chance('one')
    assert row['random_excess'] == pytest.approx(float(test.excess.mean()))
    assert row['random'] == pytest.approx(float(sweep.random_harm().mean()))
    matched = chance_test(sweep.harm('one'), sweep.random_harm(null='matched', ranking='one'))
    assert row['matched_excess'] == pytest.approx(float(matched.excess.mean()))
    low, high = sweep.interval('one')
    assert low.tolist() == high.tolist() == [100, 100], 'every image loses'


class Halves:
    """Hits in the left and in the right half."""

    name, regions, harm_of = '', ('left', 'right', 'overall'), 'hits'

    def count(self, outputs: Tensor, targets: Any) -> Tensor:
        return outputs

    def finish(self, sums: Tensor) -> dict[str, Tensor]:
        figures = {'left/hits': sums[..., 0], 'right/hits': sums[..., 1], 'hits': sums.mean(-1)}
        return {name: 100 * value / 4 for name, value in figures.items()}

    def document(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize('right, mirrored', [
    ([4, 3, 2, 1, 0], True),
    ([0, 0, -1, -2, -2], True),  # of equal scores, which stand in channel order
    ([3, 4, 2, 1, 0], True),  # only nearly reversed
    ([0, 3, 1, 4, 2], False),
])  # fmt: skip
def test_the_dissociation_takes_the_halves_and_the_right_null(right: list[int], mirrored: bool) -> None:
    orders = [-score for score in right] if right[:2] == [0, 0] else list(range(5)), right
    rankings = {name: ranking(order, region=name) for name, order in zip(('left', 'right'), orders, strict=True)}
    plan = SweepPlan(rankings, None, [1], num_random=19)
    assert plan.num_runs == 1 + 2 + 19 * (1 + mirrored)
    counts = torch.ones(4, plan.num_runs, 2)
    counts[:, 1, 0] = counts[:, 2, 1] = 0  # The left ranking ruins the left half, the right one the right half.
    sweep = Sweep(plan, counts, Halves())
    found = sweep.dissociation()
    assert found.difference == 200
    assert found.p == pytest.approx(1 / 20 if mirrored else 1 / (21 * 20))
    assert [row['region'] for row in sweep.dissociations()] == ['left', 'right']
    assert sweep.harm('left', 'left').tolist() == sweep.harm('right', 'right').tolist() == [100]
    assert sweep.summary() == {'left/hits': 100, 'right/hits': 100, 'overall/hits': 100}


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(7, 3, 4, 5, dtype=torch.float64, generator=generator)
    return list(zip(images.split(4), torch.randint(2, (7,), generator=generator).split(4), strict=True))


@pytest.mark.parametrize('reuse', [True, False])
def test_every_run_is_a_plain_forward_with_its_channels_ablated(reuse: bool) -> None:
    model = planted_net().train()
    rankings = {'one': ranking([1, 5, 2, 4, 3]), 'two': ranking(range(5))}
    options = dict(layers=['body.maps', 'body[1]', 'neck'], window=2, num_random=2, reuse=reuse)
    scores, finish = (lambda outputs, targets: outputs), (lambda sums: {'first': sums[..., 0]})
    sweep = sweep_channels(model, batches(), rankings, range(6), scores, finish=finish, **options)
    hits = sweep_channels(model, batches(), rankings, range(6), 'top1', **options)
    assert model.training, 'the mode is as before'
    assert sweep.plan.num_matched == 2
    assert not any(module._forward_hooks or 'forward' in vars(module) for module in model.modules())
    runs = {run: (order.layer, channels) for order in sweep.plan.orders for run, channels in order.ablations()}
    runs[0] = 'neck', ()
    assert len(runs) == sweep.plan.num_runs
    model.eval()
    images, labels = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    for run, (layer, channels) in runs.items():
        with torch.no_grad(), ablate_channels(model, layer, channels):
            expected = model(images)
        torch.testing.assert_close(sweep.counts[:, run], expected)
        assert hits.counts[:, run].tolist() == [[int(hit), 1] for hit in expected.argmax(1) == labels]
    assert len(sweep.counts.unique(dim=1)[0]) > 10, 'the variants differ'


def test_mean_activation_is_measured_or_taken_from_a_ranking() -> None:
    model = planted_net()
    strength = rank_channels(model, batches(), LAYER, statistic='mean_activation')
    measured = sweep_channels(model, batches(), ranking(range(5)), [2], num_random=1)
    given = sweep_channels(model, batches(), {'one': ranking(range(5)), 'strength': strength}, [2], num_random=1)
    assert measured.plan.activation[LAYER] == pytest.approx(strength.scores)
    assert given.plan.activation[LAYER] == strength.scores
    of_region = dataclasses.replace(strength, region='left', scores=(1, 2, 3, 4, 5))
    other = sweep_channels(model, batches(), {'one': ranking(range(5)), 'left': of_region}, [2], num_random=1)
    assert other.plan.activation == measured.plan.activation
    assert not sweep_channels(model, batches(), strength, [2], num_random=1, num_matched=0).plan.activation


def test_custom_metrics(tmp_path: Path) -> None:
    def count(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.gather(1, targets[:, None])

    def finish(sums: Tensor) -> dict[str, Tensor]:
        return {'score': sums[..., 0]}

    model = planted_net()
    sweep = sweep_channels(model, batches(), ranking(range(5)), [5], count, finish=finish, num_random=0)
    with torch.no_grad():
        total = sum(float(count(model(images), labels).sum()) for images, labels in batches())
        bias = sum(float(model.head.bias[labels].sum()) for _, labels in batches())
    assert sweep.whole() == pytest.approx(total)
    assert sweep.harm('flip_image-abs').tolist() == pytest.approx([total - bias])
    sweep.save(tmp_path)
    with pytest.raises(ValueError, match='made with a metric of its own: load'):
        Sweep.load(tmp_path)
    assert Sweep.load(tmp_path, make_metric(count, finish)).whole() == sweep.whole()


def test_sums_of_ones_own_may_need_64_bits_and_are_of_each_image(tmp_path: Path) -> None:
    large = dict(metric=lambda outputs, targets: torch.full((len(outputs), 1), 3_000_000_000))
    options = dict(num_channels=[0], num_random=0, finish=lambda sums: {'large': sums[..., 0]})
    sweep = sweep_channels(planted_net(), batches(), ranking(range(5)), **options, **large)
    assert sweep.whole() == 7 * 3_000_000_000
    half = dict(metric=lambda outputs, targets: torch.full((len(outputs), 1), 0.5, dtype=torch.bfloat16))
    sweep_channels(planted_net(), batches(), ranking(range(5)), **options, **half).save(tmp_path)
    of_the_batch = dict(metric=lambda outputs, targets: torch.ones(2))
    with pytest.raises(ValueError, match=r'sums of each image, \(N, ...\), got \(2,\) for 4 images'):
        sweep_channels(planted_net(), batches(), ranking(range(5)), **options, **of_the_batch)


def _process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    data = TensorDataset(*(torch.cat(parts) for parts in zip(*batches(), strict=True)))
    dealt = DataLoader(data, 2, sampler=DistributedSampler(data, shuffle=False))
    shared, whole = planted_net(), planted_net()
    options = dict(rankings=ranking(range(5)), num_channels=[0, 2, 5], window=2, num_random=2)
    found = sweep_channels(shared, dealt, **options)
    distributed.destroy_process_group()
    assert torch.equal(found.counts, sweep_channels(whole, batches(), **options).counts)


@pytest.mark.slow
@pytest.mark.dist
def test_every_process_returns_the_sweep_of_all_images(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_process, (tmp_path,), 2, start_method='fork')


def test_miou_of_a_plain_segmenter() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 2, 2), nn.ReLU(), nn.Conv2d(6, 2, 1)).eval()  # Scores at half the size.
    images, labels = torch.randn(3, 3, 6, 8), torch.randint(2, (3, 6, 8))
    sweep = sweep_channels(model, [(images, labels)], ranking(range(6), layer='1'), [0, 3, 6], 'miou', num_random=1)
    assert sweep.regions == ['left', 'center', 'right', 'overall']
    for number in (0, 3):
        with torch.no_grad(), ablate_channels(model, '1', sweep.plan.orders[0].order[:number]):
            predicted = F.interpolate(model(images), (6, 8), mode='bilinear').argmax(1)
        pairs = [(predicted == k, labels == k) for k in (0, 1)]
        expected = sum(float(100 * (found & true).sum() / (found | true).sum()) for found, true in pairs) / 2
        assert sweep.values('mIoU')[number // 3].item() == pytest.approx(expected)


@pytest.mark.parametrize('arguments, message', [
    (dict(metric='top5'), 'metric must be one of top1, rates, miou'),
    (dict(metric=len), 'metric must be a name, an object with count and finish, or a function'),
    (dict(loader=[(torch.rand(2, 3, 4, 5).double(), torch.rand(2))]), r'labels \(N,\) of integers'),
    (dict(loader=[(torch.rand(2, 3, 4, 5).double(), torch.tensor([1, 2]))]), 'labels must be from 0 to 1, .* got 2'),
    (dict(loader=[(torch.rand(2, 3, 4, 5).double(), torch.tensor([1, -1]))]), 'labels must be from 0 to 1, .* got -1'),
    (dict(loader=iter(batches())), 'no images: .* or the loader is an iterator that has been read before'),
    (dict(layers=['body.nothing']), "layer 'body.nothing' does not exist"),
    (dict(rankings=ranking(range(4))), 'has 5 channels, but the rankings have 4'),
    (dict(rankings=ranking(range(4)), num_matched=0), 'has 5 channels, but the channels were chosen among 4'),
    (dict(rankings=ranking(range(5), model_sha256='0' * 64)), 'made from other weights'),
])  # fmt: skip
def test_bad_input(arguments: dict, message: str) -> None:
    given = dict(model=planted_net(), loader=batches(), rankings=ranking(range(5)), num_channels=[2], num_random=1)
    with pytest.raises((ValueError, TypeError), match=message):
        sweep_channels(**{**given, **arguments})


@pytest.mark.parametrize('question, message', [
    (lambda sweep: sweep.values('top5'), 'metric must be one of top1, got'),
    (lambda sweep: sweep.curves(region='left'), 'region must be one of overall, got'),
    (lambda sweep: sweep.harm('two'), 'ranking must be one of one, got'),
    (lambda sweep: sweep.harm('one', layer='neck'), 'layer must be one of body.maps, got'),
    (lambda sweep: sweep.random_harm(null='matched', ranking='one'), "no top N of 'matched' to 'one'"),
    (lambda sweep: sweep.chance('one'), '2 random orders cannot reach'),
    (lambda sweep: sweep.dissociation(), 'a ranking of the left and one of the right half are needed'),
    (lambda sweep: Top1().count(torch.rand(2, 1), [0, 0]), r'scores \(N, classes\) of two or more classes'),
    (lambda sweep: Sweep(sweep.plan, sweep.counts[:, :2], Top1()), r'counts must be \(images, 4 runs, ...\)'),
])  # fmt: skip
def test_bad_questions(question: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        question(sweep_by_hand())


def test_folders_that_are_not_a_sweep(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'there is no sweep\.json'):
        Sweep.load(tmp_path)
    sweep_by_hand().save(tmp_path)
    (tmp_path / 'sweep.json').write_text('{"format": "mmposenc.sweep/1"}')
    with pytest.raises(ValueError, match=r"the format 'mmposenc\.sweep/2', got 'mmposenc\.sweep/1'"):
        Sweep.load(tmp_path)
    (tmp_path / 'sweep_counts.npz').unlink()
    with pytest.raises(FileNotFoundError, match=r'no sweep_counts.npz .* let the sweep end'):
        Sweep.load(tmp_path)


def hits_of(positions: list[int]) -> Tensor:
    """Top-1 of a plan of two runs."""
    return torch.tensor([[[position % 2, 1], [position % 3 == 0, 1]] for position in positions], dtype=torch.uint8)


def opened(folder: Path, num_channels: int = 1, model: str = 'net') -> SweepFolder:
    return SweepFolder(folder, SweepPlan({'one': ranking(range(5))}, None, [num_channels]), Top1(), {'model': model})


def fill(folder: Path, *units: list[int]) -> None:
    store = opened(folder)
    store.open()
    for unit in units:
        store.add(unit, hits_of(unit))
        store.flush()


def test_it_resumes_where_it_stopped_and_counts_damaged_units_again(tmp_path: Path) -> None:
    fill(tmp_path, [4, 5], [0, 1])
    left = tmp_path / 'units' / '.00000009-1.npz.77.tmp'
    left.write_bytes(b'half a file')
    unit = tmp_path / 'units' / '00000000-2.npz'
    whole = unit.read_bytes()
    for size in (0, 30, 200):
        unit.write_bytes(whole[:size])
        assert opened(tmp_path).open() == {4, 5}
    unit.write_bytes(whole)
    store = opened(tmp_path)
    assert store.open() == {0, 1, 4, 5}
    assert not left.exists()
    with pytest.raises(ValueError, match='2 of 6 images are not counted yet: run the same command again'):
        store.finish(6)
    store.add([2, 3], hits_of([2, 3]))
    store.flush()
    assert store.finish(6).counts.tolist() == Sweep.load(tmp_path).counts.tolist() == hits_of(list(range(6))).tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['sweep.csv', 'sweep.json', 'sweep_counts.npz']


def test_another_sweep_is_refused_by_the_names_of_what_differs(tmp_path: Path) -> None:
    opened(tmp_path, 2, 'other').open()  # which ends before it has counted anything
    fill(tmp_path, [0])
    with pytest.raises(ValueError, match=r'holds a sweep under other conditions \(not the same: plan, model\)'):
        opened(tmp_path, 2, 'other')
    (tmp_path / 'sweep.json').write_text('{"format":')
    with pytest.raises(ValueError, match=r'sweep\.json is not JSON.*: sweep again, into another folder'):
        opened(tmp_path)
    (tmp_path / 'sweep.json').unlink()
    with pytest.raises(ValueError, match=r'holds files of a sweep without its sweep\.json'):
        opened(tmp_path)  # What has been counted may be of other conditions.
    (tmp_path / 'units').rename(tmp_path / 'sweep.csv')
    with pytest.raises(ValueError, match=r'holds files of a sweep without its sweep\.json'):
        opened(tmp_path)
