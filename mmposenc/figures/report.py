"""A page of HTML that needs nothing but itself, and what such a page says about a sweep."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure
from PIL import Image

from mmposenc.channels.sweep import Sweep
from mmposenc.figures.style import save_figure
from mmposenc.figures.sweeps import class_claims, metric_label, numbers_label, ranking_labels

_NUMBER = re.compile(r'-?[\d.,]+%?( (to|of) -?[\d.]+)?|nan')


@dataclass(frozen=True)
class Table:
    """A table of a report; None is an empty cell."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ''

    def right(self) -> list[bool]:
        """Which columns are aligned to the right: those that hold numbers alone."""
        columns = zip(*self.rows, strict=True)
        return [all(cell is None or _NUMBER.fullmatch(str(cell)) for cell in column) for column in columns]


class Picture:
    """A PNG or SVG file of a report; the page holds a copy of it, in the size it was drawn for.

    The caption says what to see in it, also to those who cannot see it.
    """

    def __init__(self, path: str | Path, caption: str) -> None:
        if not Path(path).is_file():
            raise FileNotFoundError(f'there is no picture {path}')
        content = Path(path).read_bytes()
        # Width in CSS px (96 an inch) at which the text of all pictures has one size; None if the file does not say.
        width: float | None = None
        if content.startswith(b'\x89PNG\r\n\x1a\n'):
            self.kind, mime = 'png', 'image/png'
            with Image.open(path) as image:
                width = image.width / image.info['dpi'][0] if 'dpi' in image.info else None
        elif b'<svg' in content[:2000]:
            self.kind, mime = 'svg', 'image/svg+xml'
            found = re.search(rb'<svg[^>]*\swidth="([\d.]+)pt"', content)
            width = float(found[1]) / 72 if found else None
        else:
            raise ValueError(f'picture {path} must be a PNG or SVG file')
        self.path, self.caption, self.width = path, caption, width and round(96 * width)
        self.url = f'data:{mime};base64,{base64.b64encode(content).decode()}'


@dataclass(frozen=True)
class Commands:
    """Command lines of a report, to be copied."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A part of a report, whose title stands in the contents bar too; a str among its parts is a paragraph."""

    title: str
    parts: Sequence[str | Table | Picture | Commands]


def build_report(title: str, sections: Sequence[Section], summary: Sequence[str] = (), introduction: str = '') -> str:
    """One page of HTML that loads nothing: pictures are inside, there is no script.

    The introduction is a paragraph on top; behind it stands the summary, what was found in a sentence or two each.
    """
    loader = PackageLoader('mmposenc.figures')
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    # Zero has no sign.
    environment.filters['cell'] = lambda value: '' if value is None else re.sub(r'^-(0\.0*)$', r'\1', str(value))
    page = environment.get_template('page.html')
    return page.render(title=title, sections=sections, summary=summary, introduction=introduction)


def save_picture(figure: Figure, path: str | Path, caption: str) -> Picture:
    """Write a figure and return it as a picture of a report."""
    return Picture(save_figure(figure, path), caption)


def describe_p(p: float, num_random: int) -> str:
    """A p value of `mmposenc.chance_test` in words: how many of the random orders cost at least as much."""
    number = round(p * (num_random + 1)) - 1
    cost = {0: 'costs as much', 1: 'costs at least as much'}.get(number, 'cost at least as much')
    return f'{number or "none"} of {num_random} random orders {cost} (p = {p:.3f})'


def verdict(p: float) -> str:
    """What a p value says of harm, at 5%."""
    return 'more than chance explains' if p <= 0.05 else 'not distinguishable from chance'


def summarise_sweep(sweep: Sweep, region: str = 'overall') -> list[str]:
    """What a sweep has found, in sentences with figures (Fig. 4 and 6)."""
    labels, metric = ranking_labels(sweep.plan.rankings), metric_label(sweep.harm_of)
    claims = [row for row in sweep.claims() if row['region'] == region and 'random_p' in row]
    sentences = []
    for layer in dict.fromkeys(row['layer'] for row in claims):
        own = [row for row in claims if row['layer'] == layer]
        sentence = (
            f'Ablated at {layer}, random channels cost {_points(own[0]["random"])} points of {metric} (mean over '
            f'{numbers_label(sweep)}).'
        )
        for title, holds in (('More than chance explains', True), ('Not distinguishable from chance', False)):
            alike = [row for row in own if (row['random_p'] <= 0.05) is holds]
            costs = [f'{labels[r["ranking"]]}, {_points(r["harm"])} (p = {r["random_p"]:.3f})' for r in alike]
            sentence += f' {title}: {"; ".join(costs)}.' if costs else ''
        strong = [row for row in own if row['random_p'] <= 0.05 < row.get('matched_p', 0)]
        if strong:
            costs = [f'{labels[row["ranking"]]} (p = {row["matched_p"]:.3f})' for row in strong]
            sentence += f' Not more than random orders matched in strength, which may explain it: {"; ".join(costs)}.'
        sentences.append(sentence)
    for layer in dict.fromkeys(row['layer'] for row in sweep.dissociations()):
        found = sweep.dissociation(layer)
        says = 'each half depends on its own channels' if found.p <= 0.05 else verdict(found.p)
        (left, _, other), (another, _, right) = ([_points(loss) for loss in row] for row in found.harm.tolist())
        sentences.append(
            f'Left and right at {layer}: the left half loses {left} points to left channels and {other} to right ones, '
            f'the right half {another} and {right}; D = {_points(found.difference, 2)}, p = {found.p:.3f}: {says}.'
        )
    if claims:
        number, tests = sweep.plan.num_random, len(claims)
        sentence = (
            f'p is the share of orders, {number} random ones and the ranking itself, that cost at least as much: '
            f'{1 / (number + 1):.3f} if no random one does.'
        )
        if tests > 1:
            average = f'{tests / 20:.2g} of them pass on average'
            sentence += f' {tests} tests were made at 5%; chance alone would let {average}.'
        sentences.append(sentence)
    return sentences


def _points(value: float, digits: int = 1) -> str:
    return f'{round(float(value), digits) + 0.0:.{digits}f}'  # zero has no sign


def describe_claims(sweep: Sweep, region: str = 'overall') -> list[str | Table]:
    """Whether each ranking harms more than random channels (Fig. 4, top row).

    Empty with fewer than 19 random orders.
    """
    labels = ranking_labels(sweep.plan.rankings)
    claims = [row for row in sweep.claims() if row['region'] == region]
    if not claims:
        return []
    head, rows = ['layer', 'ranking', 'loss'], [[r['layer'], labels[r['ranking']], f'{r["harm"]:.2f}'] for r in claims]
    for null in (null for null in ('random', 'matched') if f'{null}_p' in claims[0]):
        head += [null, '95% of orders', 'p' if null == 'random' else 'p (matched)']
        for cells, row in zip(rows, claims, strict=True):
            band = f'{row[null] + row[f"{null}_low"]:.2f} to {row[null] + row[f"{null}_high"]:.2f}'
            cells += [f'{row[null]:.2f}', band, f'{row[f"{null}_p"]:.3f}']
    caption = (
        f'Loss of {metric_label(sweep.harm_of)} in points, {region}, mean over N. "95% of orders" is the range of '
        'single random orders; p is the share of orders, the ranking included, that cost at least as much.'
    )
    if 'matched' in head:
        caption += ' Matched orders have as many strongly and weakly activated channels as the ranking at every N.'
    return [Table(head, rows, caption)]


def describe_curves(sweep: Sweep, metric: str | None = None, region: str = 'overall') -> list[str | Table]:
    """The figure at a few N, for each ranking and the random orders (Fig. 4, top row)."""
    metric = metric or sweep.harm_of
    labels = {**ranking_labels(sweep.plan.rankings), 'random': 'random (mean)'}
    curves = [curve for curve in sweep.curves(metric, region) if curve.kind == 'top' and curve.ranking in labels]
    parts: list[str | Table] = []
    for layer in sweep.layers if curves else ():
        own = [curve for curve in curves if curve.layer == layer]
        places = spread(len(own[0].sizes))
        rows = [[own[0].sizes[place], *(f'{float(curve.values[place]):.2f}' for curve in own)] for place in places]
        caption = f'{metric_label(metric)} in %, {region}, with the top N channels ablated at {layer}.'
        parts.append(Table(['N', *(labels[curve.ranking] for curve in own)], rows, caption))
    return parts


def describe_classes(sweep: Sweep, rankings: Sequence[str]) -> list[str | Table]:
    """What each class loses to each ranking at the first layer, with the p value beside it."""
    labels = ranking_labels(sweep.plan.rankings)
    rows: dict[str, list[str]] = {}
    for row in class_claims(sweep, rankings):
        band = f'{row["random"] + row["low"]:.1f} to {row["random"] + row["high"]:.1f}'
        cells = rows.setdefault(row['class'], [row['class'], f'{row["random"]:.1f}', band])
        cells += [f'{row["harm"]:.1f}', f'{row["p"]:.3f}']
    head = ['class', 'random', '95% of orders', *(title for name in rankings for title in (labels[name], 'p'))]
    caption = 'Loss of IoU in points, mean over N. p: share of orders, the ranking included, that cost at least that.'
    return [Table(head, list(rows.values()), caption)]


def describe_dissociation(sweep: Sweep) -> list[str | Table]:
    """Losses of both halves to left, overall and right channels, with D and its p value (Fig. 6)."""
    rows = []
    for row in sweep.dissociations():
        losses = [f'{row[f"harm_{side}"]:.2f}' for side in ('left', 'overall', 'right')]
        tested = [f'{row["order_at"]} of {row["of"]}', f'{row["difference"]:.2f}', f'{row["p"]:.3f}']
        rows.append([row['layer'], row['region'], *losses, *tested])
    if not rows:
        return []
    head = ['layer', 'half', 'left channels', 'overall', 'right channels', 'order holds', 'D', 'p']
    caption = (
        'Loss in points, mean over N. D: how much more the left channels harm the left half and the right channels the '
        'right half than the other way round; p: the share of random orders whose D is at least as large. '
        '"Order holds": at how many N the own channels cost more than the overall ones and these more than the others.'
    )
    return [Table(head, rows, caption)]


def describe_sweep(sweep: Sweep) -> list[str | Table]:
    """What was swept, of which network, on which data."""
    labels, plan = ranking_labels(sweep.plan.rankings), sweep.plan
    facts: dict[str, Any] = {'images': len(sweep.counts), 'layers': ', '.join(sweep.layers), 'channels': plan.total}
    facts |= {'N': ', '.join(map(str, plan.num_channels)), 'random orders': plan.num_random}
    facts |= {'random orders matched in strength': plan.num_matched, 'window': plan.window}
    for name, value in sweep.about.items():  # Twelve digits of a hash tell two files apart.
        facts[name.replace('_', ' ')] = _text(value)[: 12 if name.endswith('sha256') else None]
    rankings = [
        [name, labels[name], of.region, of.pair, of.statistic, of.layer, of.num_images, of.data_set]
        for name, of in plan.rankings.items()
    ]
    head = ['ranking', 'measures', 'region', 'pair', 'statistic', 'made at', 'images', 'of']
    shown = [[name, value] for name, value in facts.items() if value not in (None, '', 0)]
    return [Table(['what', 'which'], shown), Table(head, rankings, 'The rankings.')]


def spread(number: int) -> list[int]:
    """At most nine positions of a list, evenly spread, with both ends."""
    return sorted({round(i * (number - 1) / 8) for i in range(9)})


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ', '.join(f'{key}: {_text(each)}' for key, each in value.items())
    return ', '.join(map(_text, value)) if isinstance(value, (list, tuple)) else str(value)
