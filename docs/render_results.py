"""Write the tables of docs/reproduce, the model index and the pictures from the figures in docs/results.

A page marks the place of a table by a line `<!-- NAME -->` above it and a line `<!-- end -->` below it.
`python docs/render_results.py` rewrites the tables; `--check` changes nothing and fails where one differs from the
figures.
"""

import csv
import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import render_atlas
import render_camvid
import render_espnet
import render_positions
import yaml
from render_status import status_table

from mmposenc.cli.experiments import DATA_SETS, NETS, TABLE2, TOP1, grids, shifts
from mmposenc.cli.reproduce import PUBLISHED, results

HERE = Path(__file__).parent
METAFILE = HERE.parent / 'configs' / 'metafile.yml'
PAGES = [HERE / 'atlas.md', *sorted((HERE / 'reproduce').glob('*.md'))]
PAPER = {
    'Title': 'Global Pooling, More than Meets the Eye: Position Information is Encoded Channel-Wise in CNNs',
    'URL': 'https://arxiv.org/abs/2108.07884',
}
PROTOCOLS = ('zero_ref', 'zero_pair', 'roll_ref', 'roll_pair', 'reflect_ref', 'reflect_pair', 'crop_pair')
HARM = ('harm', 'random', 'p', 'matched', 'p, matched')
NOT_MEASURED = 'n.m.'
FIGURES = ('Top-1', 'zero_ref [95%]', *PROTOCOLS[1:])
PRETRAINED = {
    'resnet20_cifar10': 'ResNet-20, CIFAR-10',
    'resnet56_cifar10': 'ResNet-56, CIFAR-10',
    'efficientnet_lite0_imagenet1000': 'EfficientNet-Lite0, ImageNet',
    'efficientnet_lite1_imagenet1000': 'EfficientNet-Lite1, ImageNet',
}
OBJECTS = {'lite0': 'EfficientNet-Lite0', 'lite1': 'EfficientNet-Lite1'}
_TABLE = re.compile(r'(<!-- (\w+) -->\n).*?(<!-- end -->)', re.S)


def read(name: str) -> Any:
    """The content of a file of docs/results: JSON, or the rows of a CSV."""
    text = (HERE / 'results' / name).read_text()
    return list(csv.DictReader(text.splitlines())) if name.endswith('.csv') else json.loads(text)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in (head, ['---'] * len(head), *rows))


def table2() -> str:
    """Top-1 and Cons.8 by all protocols, the headline one with its 95% interval, beside the paper's."""
    own = classifiers()
    tables = []
    for data, title, epochs in DATA_SETS[:2]:
        rows = [
            [f'[{method}](../../{config})', *consistency(record['figures']), paper or '-']
            for place, method, config, paper, record in own
            if place == data
        ]
        tables.append(markdown([f'{title}, {epochs} epochs', *FIGURES, 'paper: Top-1 / Cons.8'], rows))
    conditions = '; '.join(own[0][-1][name] for name in ('measured', 'device', 'software', 'data'))
    return '\n\n'.join([*tables, f'{conditions}; seed 0, one seed per row.'])


def classifiers() -> list[tuple[str, str, str, str, dict[str, Any]]]:
    """Data set, method, config, the paper's figures and record of each ResNet-18 of Table 2."""
    of = {e.name: e.cells[0] for e in shifts()}
    found = []
    for record in read('earlier.json'):
        if record['name'].startswith('table2-'):
            _, data, method = record['name'].split('-', 2)
            config = record['commands'][0].split()[2]
            found.append((data, TABLE2[method][0], config, of[record['name']].paper, record))
    return found


def pretrained() -> str:
    """Consistency cards of networks that others trained."""
    from mmposenc.shifts import ConsistencyCard

    rows = []
    for name, label in PRETRAINED.items():
        card = ConsistencyCard.load(HERE / 'results' / 'consistency' / f'{name}.json')
        of = {(row['protocol'], row['max_shift']): row for row in card.table()}
        for n in sorted({n for n in card.max_shifts if n}):
            figures = {
                f'{p}{end}': row[f'consistency{end}']
                for (p, size), row in of.items()
                if size in (n, None)
                for end in ('', '_low', '_high')
            }
            correct = of['zero_ref', n]['consistency_correct']
            rows.append([label, f'{n} px', *consistency({'accuracy/top1': card.top1, **figures}), f'{correct:.2f}'])
    return markdown(['network', 'N', *FIGURES, 'zero_ref among correct'], rows)


def objects() -> str:
    """Harm of each ranking to object recognition, beside both kinds of random orders."""
    rows = []
    for name, network in OBJECTS.items():
        for place, found in read(f'objects/{name}.json')['places'].items():
            layer = f'`{found["layer"]}`' + (', same images' if 'same' in place else '')
            rows += [[network, layer, row['ranking'], *harm_cells(row)] for row in found['claims']]
    return markdown(['network', 'layer', 'ranking', *HARM], rows)


def objects_narrow() -> str:
    """The same of the narrow network on CIFAR-10."""
    figures = read('reproduce/objects-narrow-cifar10-seed0.json')['figures']
    rows = []
    for ranking, name in (('Eq. 2', 'abs'), ('mean activation', 'mean_activation')):
        begin = f'sweep/claims/neck/overall/overall-flip_image-{name}/'
        row = {key.removeprefix(begin): value for key, value in figures.items() if key.startswith(begin)}
        rows.append([ranking, *harm_cells({'ranking': ranking, **row})])
    return markdown(['ranking', *HARM], rows)


def harm_cells(row: dict[str, Any]) -> list[str]:
    """Cells of a claim, under `HARM`."""
    cells = [f'{row["harm"]:.1f}', f'{row["random"]:.1f}', f'{row["random_p"]:.3f}']
    if row['ranking'] == 'mean activation':  # nothing to match: the orders hold its own channels
        return [*cells, '-', '-']
    return [*cells, f'{row["matched"]:.1f}', f'{row["matched_p"]:.3f}']


def objects_correlations() -> str:
    """Spearman correlations between the rankings of a layer."""
    rows = []
    for name, network in OBJECTS.items():
        for place, found in read(f'objects/{name}.json')['places'].items():
            of = found['correlations']
            names = list(of)
            pairs = [of[one][names.index(other)] for one, other in combinations(names, 2)]
            if 'same' not in place:
                rows.append([network, f'`{found["layer"]}`', *(f'{value:.2f}' for value in pairs)])
    return markdown(['network', 'layer', *(f'{one} / {other}' for one, other in combinations(names, 2))], rows)


def consistency(figures: dict[str, float]) -> list[str]:
    """Cells of a row: Top-1, the headline protocol with its interval, the others."""
    f = {key.removeprefix('consistency/cons8_'): value for key, value in figures.items()}
    others = [f'{f[name]:.2f}' if name in f else NOT_MEASURED for name in PROTOCOLS[1:]]
    headline = f'{f["zero_ref"]:.2f} [{f["zero_ref_low"]:.1f}, {f["zero_ref_high"]:.1f}]'
    return [f'{f["accuracy/top1"]:.2f}', headline, *others]


def runs(size: str) -> list[dict[str, Any]]:
    """What is known of Table 1 at a size: task, padding, net and grid, the accuracy in %, and the paper's, or None."""
    done = results(PUBLISHED)
    found = []
    for e in grids():
        kind, task, padding, net, grid = e.name.split('-')
        paper = float(e.cells[0].paper) if e.cells[0].paper else None
        axes = dict(task=task, padding=padding, net=net, grid_size=int(grid[0]), paper=paper)
        records = [done[e.name, seed] for seed in e.seeds if (e.name, seed) in done and kind == size]
        found += [dict(axes, accuracy=record['figures'][TOP1]) for record in records]
    return found


def accuracies(size: str) -> str:
    """A row for each task, net and padding; all seeds in a cell, the paper's figure in brackets."""
    known = runs(size)
    sizes = sorted({run['grid_size'] for run in known})
    rows = []
    for task, net, padding in dict.fromkeys((run['task'], run['net'], run['padding']) for run in known):
        cells = []
        for n in sizes:
            axes = dict(task=task, net=net, padding=padding, grid_size=n)
            own = [run for run in known if axes.items() <= run.items()]
            paper = next((f' ({run["paper"]:g})' for run in own if run['paper']), '')
            cells.append((', '.join(f'{run["accuracy"]:.1f}' for run in own) or 'not run') + paper)
        rows.append([task, NETS[net], padding, *cells])
    return markdown(['task', 'network', 'padding', *(f'{n}x{n}' for n in sizes)], rows)


TABLES: dict[str, Callable[[], str]] = {
    'status': status_table,
    'table2': table2,
    'pretrained': pretrained,
    'objects': objects,
    'objects_narrow': objects_narrow,
    'objects_correlations': objects_correlations,
    **{name: partial(accuracies, name) for name in ('narrow1', 'fifth', 'digits')},
}
TABLES |= {
    table.__name__: lambda table=table: markdown(table()[0], table()[1:])
    for module in (render_atlas, render_camvid, render_espnet, render_positions)
    for table in module.TABLES
}


def page(text: str) -> str:
    """A page with its tables as the figures have them."""
    return _TABLE.sub(lambda match: f'{match[1]}\n{TABLES[match[2]]()}\n\n{match[3]}', text)


def metafile() -> str:
    """The entries of the model index: one for each classifier with measured figures, as OpenMMLab's tools read them."""
    collections = {'AugShift': 'Two shifted views (Sec. 4.1)', 'Shift baseline': 'One shifted view'}
    of = {data: (title, epochs) for data, title, epochs in DATA_SETS}
    entries = [
        {
            'Name': Path(config).stem,
            'In Collection': 'AugShift' if 'augshift' in config else 'Shift baseline',
            'Config': config,
            'Metadata': {'Training Data': of[data][0], 'Epochs': of[data][1], 'Training Resources': '1x H200 GPU'},
            'Results': [
                {
                    'Task': 'Image Classification',
                    'Dataset': of[data][0],
                    'Metrics': {
                        'Top 1 Accuracy': record['figures']['accuracy/top1'],
                        'Cons.8 zero_ref': record['figures']['consistency/cons8_zero_ref'],
                    },
                }
            ],
        }
        for data, _, config, _, record in classifiers()
        if 'mse_weight' not in record['commands'][0]  # the configs as they are
    ]
    index = {
        'Collections': [
            {'Name': name, 'Metadata': {'Training Techniques': [technique]}, 'Paper': dict(PAPER)}
            for name, technique in collections.items()
        ],
        'Models': entries,
    }
    return '# Rendered from docs/results by docs/render_results.py.\n' + yaml.dump(index, sort_keys=False, width=120)


def draw() -> None:
    """The pictures of Table 1 and 2."""
    from matplotlib.figure import Figure

    from mmposenc.figures import draw_accuracy, save_figure

    rows = [(method, record['figures']) for data, method, *_, record in classifiers() if data == 'cifar100'][::-1]
    figure = Figure(figsize=(8, 1 + 0.4 * len(rows)), layout='constrained')
    axes = figure.subplots(1, 2, sharey=True)
    panels = (('accuracy/top1', 'Top-1 (%)'), ('consistency/cons8_zero_ref', 'Cons.8, zero_ref (%), 95% interval'))
    for axis, (key, label) in zip(axes, panels, strict=True):
        for y, (_, figures) in enumerate(rows):
            value = figures[key]
            low, high = (figures.get(f'{key}_{end}', value) for end in ('low', 'high'))
            axis.errorbar(value, y, xerr=[[value - low], [high - value]], fmt='o', color='#0b6e99', capsize=3)
            axis.annotate(f'{value:.1f}', (value, y), xytext=(0, 7), textcoords='offset points', ha='center')
        axis.set(xlabel=label, ylim=(-0.6, len(rows) - 0.4))
        axis.grid(axis='x', alpha=0.3)
    axes[0].set_yticks(range(len(rows)), [method for method, _ in rows])
    save_figure(figure, HERE / 'images' / 'cons8_cifar100.png')

    figure = Figure(figsize=(6, 3), layout='constrained')
    axis = figure.subplots()
    for run in read('first_pass.json')['runs']:
        seen = [(point['images'], point['accuracy']) for point in run['points']]
        axis.plot(*zip(*seen, strict=True), label=run['net'], marker='o', markersize=4)
    axis.axhline(100 / 9, color='0.5', linestyle=':', label='chance')
    axis.set(xscale='log', xlabel='images seen, of 50,000 (log scale)', ylabel='location accuracy (%)', ylim=(0, 103))
    axis.legend(frameon=False, fontsize=8, loc=(0.62, 0.5))
    save_figure(figure, HERE / 'images' / 'first_pass.png')

    located = [run for run in runs('digits') if run['task'] == 'location']
    save_figure(draw_accuracy(located), HERE / 'images' / 'grid_digits.png')


def main(argv: list[str]) -> int:
    if argv not in ([], ['--check']):
        print(f'usage: render_results.py [--check], got {" ".join(argv)}')
        return 2
    texts = {METAFILE: metafile(), **{path: page(path.read_text()) for path in PAGES}}
    differing = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    if argv:
        names = ', '.join(path.name for path in differing)
        print(f'run: python docs/render_results.py ({names})' if differing else 'all agree with the figures')
        return 1 if differing else 0
    for path in differing:
        path.write_text(texts[path])
    draw()
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
