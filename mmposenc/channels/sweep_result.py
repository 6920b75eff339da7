"""What a sweep measured: figures, curves, harm, tests against chance, and its folder (Fig. 4 and 6)."""

import csv
import io
import json
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from reprlib import repr as short
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mmposenc.chance import FEWEST, Alternative, ChanceTest, Dissociation, chance_test, dissociation, image_interval
from mmposenc.channels.sweep_plan import MATCHED, RANDOM, REVERSED, Metric, SweepPlan, opposed
from mmposenc.results import Result, atomic_write, html_table

Null = Literal['random', 'matched']
NULLS: tuple[Null, ...] = ('random', 'matched')
_SECONDS_PER_UNIT = 1.0


@dataclass(frozen=True, eq=False)
class SweepCurve:
    """One curve: the figure `metric` against the channels that are ablated, at P points (Fig. 4 and 6).

    `ranking`, `of` and `kind` are as in `SweepVariant`; `starts` and `sizes` say at which rank the ablation starts,
    and of how many channels. `values` is the figure in %, (P,); for random orders the mean over `draws`, (R, P).
    """

    layer: str
    region: str
    metric: str
    ranking: str
    of: str
    kind: str
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    values: Tensor
    draws: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Sweep(Result):
    """What a sweep measured, for every variant and image (Sec. 4.2.2 and 4.2.3, Fig. 4 and 6).

    Harm is what the figure `harm_of` loses when channels are ablated, in points of percent. Where `layer` or `metric`
    is not given, the only layer and the first figure are meant.

    `counts` are the sums of each image in each run, (images, runs, ...), which `metric` turns into figures. `about`
    says what the sweep was of (model, data set, fingerprints), in text, numbers, lists and dicts.
    """

    FORMAT: ClassVar[str] = 'mmposenc.sweep/2'

    plan: SweepPlan
    counts: Tensor
    metric: Metric
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.counts.ndim < 2 or self.counts.shape[1] != self.plan.num_runs:
            form = f'(images, {self.plan.num_runs} runs, ...)'
            raise ValueError(f'counts must be {form} for this plan, got {tuple(self.counts.shape)}')

    @property
    def layers(self) -> list[str]:
        return self.plan.layers

    @property
    def rankings(self) -> list[str]:
        return list(self.plan.rankings)

    @property
    def regions(self) -> list[str]:
        return list(self.metric.regions)

    @cached_property
    def metrics(self) -> list[str]:
        """Names of the figures."""
        return list(dict.fromkeys(figure for _, figure in self._figures))

    @property
    def harm_of(self) -> str:
        """Name of the figure whose loss is called harm."""
        return self.metric.harm_of or self.metrics[0]

    @cached_property
    def _figures(self) -> dict[tuple[str, str], Tensor]:
        """Each figure of each run, (runs,), by region and name."""
        pool = getattr(self.metric, 'pool', None)
        return self._finish(pool(self.counts) if pool else self.counts.sum(0, dtype=torch.float64))

    def _finish(self, sums: Tensor) -> dict[tuple[str, str], Tensor]:
        figures = {}
        for key, values in self.metric.finish(sums).items():
            region, _, figure = key.partition('/')
            figures[(region, figure) if figure and region in self.metric.regions else ('overall', key)] = values
        return figures

    def _per_run(self, metric: str | None, region: str) -> Tensor:
        _check('region', region, self.regions)
        metric = metric or self.metrics[0]
        _check('metric', metric, [name for place, name in self._figures if place == region])
        return self._figures[region, metric]

    def values(self, metric: str | None = None, region: str = 'overall') -> Tensor:
        """One figure in % of every variant, in the order of `plan.variants`; NaN where it is not defined."""
        runs = torch.tensor([variant.run for variant in self.plan.variants])
        return self._per_run(metric, region)[runs]

    def whole(self, metric: str | None = None, region: str = 'overall') -> float:
        """One figure in % of the network without ablation."""
        return float(self._per_run(metric, region)[0])

    def curves(self, metric: str | None = None, region: str = 'overall') -> list[SweepCurve]:
        """The curves of one figure in one region: at each layer the rankings, then the random orders (Fig. 4 and 6)."""
        metric = metric or self.metrics[0]
        figures = self._per_run(metric, region)
        if figures.isnan().any():
            raise ValueError(f'{metric} of region {region!r} is not defined: there are no pixels to measure it on')
        curves = []
        for (layer, ranking, of, kind), draws in self.plan.points.items():
            if ranking == REVERSED:
                continue
            points = next(iter(draws.values()))
            starts, sizes = zip(*((v.start, v.stop - v.start) for v in points), strict=True)
            values = torch.stack([figures[[v.run for v in variants]] for variants in draws.values()])
            drawn = None if None in draws else values
            curves.append(SweepCurve(layer, region, metric, ranking, of, kind, starts, sizes, values.mean(0), drawn))
        return curves

    def harm(self, ranking: str, region: str = 'overall', layer: str | None = None) -> Tensor:
        """Harm of the top N of a ranking at each N of `plan.num_channels`, in points of percent, (N values,)."""
        _check('ranking', ranking, self.rankings)
        return self._harm(ranking, '', region, layer)[0]

    def random_harm(
        self, region: str = 'overall', layer: str | None = None, null: Null = 'random', ranking: str | None = None
    ) -> Tensor:
        """The same of each random order, or of those 'matched' in strength to `ranking`, (R, N values)."""
        _check('null', null, NULLS)
        return self._harm(null, (ranking or '') if null == MATCHED else '', region, layer)

    def _harm(self, ranking: str, of: str, region: str, layer: str | None) -> Tensor:
        figures = self._per_run(self.harm_of, region)
        return torch.stack([figures[0] - figures[runs] for runs in self._top(ranking, of, layer)])

    def _top(self, ranking: str, of: str, layer: str | None) -> list[list[int]]:
        """The runs of the top N, for each draw."""
        layer = layer or (self.layers[0] if len(self.layers) == 1 else None)
        _check('layer', layer, self.layers)
        draws = self.plan.points.get((layer or '', ranking, of, 'top'))
        if draws is None:
            needs = 'num_channels; num_random or num_matched for random orders; left and right rankings for reversed'
            raise ValueError(f'the sweep has no top N of {ranking!r}{f" to {of!r}" if of else ""}: it needs {needs}')
        return [[variant.run for variant in variants] for variants in draws.values()]

    def chance(
        self,
        ranking: str,
        region: str = 'overall',
        layer: str | None = None,
        null: Null = 'random',
        alternative: Alternative = 'greater',
    ) -> ChanceTest:
        """Whether a ranking harms more than random orders; see `mmposenc.chance_test` (Fig. 4, top row)."""
        harm, drawn = self.harm(ranking, region, layer), self.random_harm(region, layer, null, ranking)
        return chance_test(harm, drawn, alternative)

    def interval(self, ranking: str, region: str = 'overall', layer: str | None = None) -> tuple[Tensor, Tensor]:
        """95% interval of `harm` over the choice of images; see `mmposenc.chance.image_interval`."""
        if hasattr(self.metric, 'pool'):
            raise ValueError(f'{self.harm_of} cannot be computed from sums over images, so images cannot be resampled')
        (runs,) = self._top(ranking, '', layer)

        def harm(sums: Tensor) -> Tensor:
            figures = self._finish(sums)[region, self.harm_of]
            return figures[:, :1] - figures[:, 1:]

        return image_interval(self.counts[:, [0, *runs]], harm)

    def dissociation(
        self, layer: str | None = None, left: str | None = None, right: str | None = None, overall: str | None = None
    ) -> Dissociation:
        """Whether left channels harm the left half and right channels the right half (Sec. 4.2.3, Fig. 6).

        `left`, `right` and `overall` are names of rankings. Default: the first one of each region; `overall` may be
        missing.
        """
        of_region = {ranking.region: name for name, ranking in reversed(self.plan.rankings.items())}
        left, right = left or of_region.get('left'), right or of_region.get('right')
        overall = overall or of_region.get('overall')
        if not left or not right:
            raise ValueError(f'a ranking of the left and one of the right half are needed, got {self.rankings}')

        def both(name: str) -> Tensor:
            return torch.stack([self._harm(name, '', half, layer) for half in ('left', 'right')], dim=1)

        mirrored = opposed(self.plan.rankings[left], self.plan.rankings[right])
        reverse, whole = both(REVERSED) if mirrored else None, None if overall is None else both(overall)[0]
        return dissociation(both(left)[0], both(right)[0], both(RANDOM), reverse, whole)

    def table(self) -> list[dict[str, Any]]:
        """One row for each variant and region, figures in %."""
        rows = []
        figures = {key: values.tolist() for key, values in self._figures.items()}
        for v in self.plan.variants:
            place = dict(layer=v.layer, ranking=v.ranking, of=v.of, draw=v.draw, kind=v.kind, start=v.start)
            for region in self.regions:
                measured = {name: figures[region, name][v.run] for name in self.metrics if (region, name) in figures}
                rows.append({**place, 'num_channels': v.stop - v.start, 'region': region, **measured})
        return rows

    def claims(self) -> list[dict[str, Any]]:
        """Mean harm of each ranking beside that of both kinds of random orders, with p values (Fig. 4, top row).

        One row for each layer, region and ranking; none with fewer than 19 random orders. Columns that start with
        'random' or 'matched' are the mean harm over all N and draws, `excess` over it, `low` and `high` of the band in
        which 95% of single random orders lie, and `p` of `chance_test`.
        """
        rows = []
        nulls = [null for null in NULLS if getattr(self.plan, f'num_{null}') >= FEWEST['greater']]
        if not nulls or not self.plan.num_channels:
            return []
        for layer, region, ranking in product(self.layers, self.regions, self.rankings):
            if self._per_run(self.harm_of, region).isnan().any():
                continue
            harm = self.harm(ranking, region, layer)
            row = dict(layer=layer, region=region, ranking=ranking, harm=float(harm.mean()))
            for null in nulls:
                drawn = self.random_harm(region, layer, null, ranking)
                mean = chance_test(harm.mean(-1, keepdim=True), drawn.mean(-1, keepdim=True))
                row[null] = float(mean.random)
                row |= {f'{null}_{name}': float(getattr(mean, name)) for name in ('excess', 'low', 'high', 'p')}
            rows.append(row)
        return rows

    def dissociations(self) -> list[dict[str, Any]]:
        """The rows of `dissociation` at every layer; none where the rankings, regions or draws for it are missing."""
        regions = {ranking.region for ranking in self.plan.rankings.values()}
        complete = {'left', 'right'} <= regions and {'left', 'right'} <= set(self.regions)
        if not complete or self.plan.num_random < FEWEST['greater'] or not self.plan.num_channels:
            return []
        return [{'layer': layer, **row} for layer in self.layers for row in self.dissociation(layer).table()]

    def summary(self) -> dict[str, float]:
        """The figures of the whole network, without those of single classes."""
        return {
            f'{region}/{name}' if len(self.regions) > 1 else name: float(values[0])
            for (region, name), values in self._figures.items()
            if '/' not in name
        }

    def save(self, folder: str | os.PathLike) -> Path:
        """Write a folder: `sweep.json` and `sweep_counts.npz`, which `load` reads, and tables as CSV for people."""
        place = Path(folder)
        file, text = place / 'sweep.json', _conditions(self.plan, self.metric, self.about)
        if not file.is_file() or file.read_bytes() != text.encode():  # Then the counts are of another sweep.
            (place / 'sweep_counts.npz').unlink(missing_ok=True)
        atomic_write(file, text)
        atomic_write(place / 'sweep_counts.npz', _packed(counts=self.counts.cpu().numpy()))
        tables = {'sweep': self.table(), 'claims': self.claims(), 'dissociation': self.dissociations()}
        for name, rows in tables.items():
            if rows:
                atomic_write(place / f'{name}.csv', _csv(rows))
            else:  # One of another sweep that was saved here before.
                (place / f'{name}.csv').unlink(missing_ok=True)
        return place

    @classmethod
    def _document(cls, path: str | os.PathLike) -> dict[str, Any]:
        try:
            return super()._document(path)
        except ValueError as error:
            raise ValueError(f'{error}: sweep again, into another folder') from None

    @classmethod
    def load(cls, folder: str | os.PathLike, metric: Metric | None = None) -> 'Sweep':
        """Read a sweep; `metric` is for one with a metric of your own.

        FileNotFoundError if there is none or it has not ended, ValueError if it is of another version.
        """
        from mmposenc import named_metric

        place = Path(folder)
        for name, advice in (('sweep.json', 'give the folder of a sweep'), ('sweep_counts.npz', 'let the sweep end')):
            if not (place / name).is_file():
                raise FileNotFoundError(f'there is no {name} in {place}: {advice}')
        conditions = cls._document(place / 'sweep.json')
        options = conditions.pop('metric')
        name = options.pop('name')
        if metric is None and not name:
            raise ValueError(f'the sweep in {place} was made with a metric of its own: load(folder, metric=...)')
        plan = SweepPlan.from_document(conditions.pop('plan'))
        with np.load(place / 'sweep_counts.npz', allow_pickle=False) as arrays:
            counts = torch.from_numpy(arrays['counts'])
        return cls(plan, counts, metric or named_metric(name, **options), conditions)

    def plot(self, metric: str | None = None, region: str = 'overall') -> Any:
        """The curves as a matplotlib figure (Fig. 4 and 6)."""
        from mmposenc.figures import draw_sweep

        return draw_sweep(self, metric, region)

    def _repr_html_(self) -> str:
        return html_table(self.claims() or self.table()[:50])


def _conditions(plan: SweepPlan, metric: Metric, about: Mapping[str, Any]) -> str:
    """Everything that the counts of a sweep depend on, as the text of its `sweep.json`."""
    measured = dict(name=metric.name, **metric.document())
    conditions = dict(format=Sweep.FORMAT, plan=plan.document(), metric=measured, **about)
    return json.dumps(conditions, indent=1, allow_nan=False) + '\n'


def read_conditions(folder: str | os.PathLike) -> dict[str, Any] | None:
    """What the `sweep.json` of a folder says; None if there is no sweep in it, ValueError if it is damaged."""
    place, file = Path(folder), Path(folder, 'sweep.json')
    if file.exists():
        return {'format': Sweep.FORMAT, **Sweep._document(file)}
    if place.is_file() or any(place.glob('sweep*')) or (place / 'units').exists():
        raise ValueError(f'{folder} holds files of a sweep without its sweep.json: choose another folder')
    return None


class SweepFolder:
    """The folder of a sweep while it runs, so that it can be killed at any moment and resumes.

    The counts of about a second's images at a time are a file of their own in `units/`; at the end they become the
    `sweep_counts.npz` of `Sweep.save`, and the units are removed. No file depends on interruptions or on the number of
    processes. ValueError if the folder holds another sweep, or something else.
    """

    def __init__(self, folder: str | Path, plan: SweepPlan, metric: Metric, about: Mapping[str, Any]) -> None:
        self.folder, self.plan, self.metric, self.about = Path(folder), plan, metric, about
        self.units = self.folder / 'units'
        self._text = _conditions(plan, metric, about)
        self._positions: list[int] = []
        self._counts: list[np.ndarray] = []
        self._flushed = time.monotonic()
        kept, own = read_conditions(folder), json.loads(self._text)
        # A sweep that failed at its first image has measured nothing, and may be replaced.
        measured = [*self.units.glob('*.npz'), *self.folder.glob('*.npz'), *self.folder.glob('*.csv')]
        if kept is not None and kept != own and measured:
            names = ', '.join(name for name in {**kept, **own} if kept.get(name) != own.get(name))
            advice = 'choose another folder, delete this one, or repeat its command'
            raise ValueError(f'{folder} holds a sweep under other conditions (not the same: {names:.200}): {advice}')

    def open(self) -> set[int]:
        """Make the folder and return the positions of the images that are already counted; in one process, first."""
        atomic_write(self.folder / 'sweep.json', self._text)
        self.units.mkdir(exist_ok=True)
        for left in (*self.folder.glob('.*.tmp'), *self.units.glob('.*.tmp')):  # What a killed process was writing.
            left.unlink(missing_ok=True)
        return {position for positions, _ in self._read() for position in positions.tolist()}

    def add(self, positions: Sequence[int], counts: Tensor) -> None:
        """Keep the counts of some images; they are on disk within a second, or after `flush`."""
        self._positions += positions
        self._counts.append(counts.numpy())
        if time.monotonic() - self._flushed >= _SECONDS_PER_UNIT:
            self.flush()

    def flush(self) -> None:
        """Write what has been added."""
        if self._positions:
            unit = _packed(positions=np.array(self._positions), counts=np.concatenate(self._counts))
            atomic_write(self.units / f'{self._positions[0]:08d}-{len(self._positions)}.npz', unit)
        self._positions, self._counts = [], []
        self._flushed = time.monotonic()

    def finish(self, num_images: int) -> Sweep:
        """Make the sweep of all images, save it, and remove the units; in one process, when all have flushed."""
        parts = [*self._read()]
        if missing := set(range(num_images)).difference(*(positions.tolist() for positions, _ in parts)):
            raise ValueError(f'{len(missing)} of {num_images} images are not counted yet: run the same command again')
        merged = np.zeros((num_images, *parts[0][1].shape[1:]), parts[0][1].dtype)
        for positions, counts in parts:
            merged[positions] = counts
        sweep = Sweep(self.plan, torch.from_numpy(merged), self.metric, self.about)
        sweep.save(self.folder)
        shutil.rmtree(self.units, ignore_errors=True)
        return sweep

    def _read(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Positions and counts of every file. One that a power cut has damaged is counted again."""
        for file in (*sorted(self.units.glob('*.npz')), self.folder / 'sweep_counts.npz'):
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    counts = arrays['counts']
                    positions = arrays['positions'] if 'positions' in arrays else np.arange(len(counts))
            except (FileNotFoundError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
                continue
            if len(positions) == len(counts) > 0:
                yield positions, counts


def _check(name: str, value: str | None, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f'{name} must be one of {", ".join(allowed)}, got {short(value)}')


def _packed(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow([f'{value:.6f}' if isinstance(value, float) else value for value in row.values()])
    return text.getvalue()
