"""Render what shows measured figures from docs/results/*.json: docs/results.md, the model index and the pictures.

`python docs/render_results.py` rewrites them; `--check` changes nothing and fails if the texts differ from the figures.
The page's text lies in results.in.md, where `{{ table2 }}` stands for a table.
"""

import csv
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

HERE = Path(__file__).parent
METAFILE = HERE.parent / 'configs' / 'metafile.yml'
PAPER = {
    'Title': 'Global Pooling, More than Meets the Eye: Position Information is Encoded Channel-Wise in CNNs',
    'URL': 'https://arxiv.org/abs/2108.07884',
}


def table2() -> str:
    """Top-1 and Cons.8 by protocol, with the 95% interval of the headline protocol, beside the paper's."""
    results = json.loads((HERE / 'results' / 'table2.json').read_text())
    lines = [
        '| data | method | epochs | Top-1 | Cons.8 zero_ref [95%] | zero_pair | roll_ref | reflect_ref '
        '| paper Top-1 / Cons.8 |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for row in results['rows']:
        paper = results['paper'][row['data']].get(row['method'])
        lines.append(
            f'| {row["data"]} | [{row["method"]}](../{row["config"]}) | {row["epochs"]} '
            f'| {consistency(row["figures"])} | {" / ".join(map(str, paper)) if paper else "-"} |'
        )
    facts = (
        f'{results["measured"]}, {results["device"]}; {results["software"]}; {results["data"]}; seed 0, one seed a row.'
    )
    commands = f'```\n{results["train"]}\n{results["test"]}\n```'
    return '\n'.join([*lines, '', facts, '', commands])


def consistency(figures: dict[str, float]) -> str:
    """Cells of a row: Top-1, the headline protocol with its interval, three others."""
    f = {key.removeprefix('consistency/cons8_'): value for key, value in figures.items()}
    others = (f.get(name) for name in ('zero_pair', 'roll_ref', 'reflect_ref'))
    further = ' | '.join('-' if value is None else f'{value:.2f}' for value in others)
    headline = f'{f["zero_ref"]:.2f} [{f["zero_ref_low"]:.1f}, {f["zero_ref_high"]:.1f}]'
    return f'{f["accuracy/top1"]:.2f} | {headline} | {further}'


def narrow() -> str:
    """Lambda and the crop range on CIFAR-10 with the narrow network."""
    results = json.loads((HERE / 'results' / 'narrow.json').read_text())
    lines = [
        '| method | lambda | crop within | Top-1 | Cons.8 zero_ref [95%] | zero_pair | roll_ref | reflect_ref |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for row in results['rows']:
        start = f'| {row["method"]} | {row.get("lambda", "-")} | {row["crop_px"]} px'
        lines.append(f'{start} | {consistency(row["figures"])} |')
    facts = f'{results["measured"]}, {results["device"]}; {results["software"]}; {results["data"]}; {results["seeds"]}.'
    commands = f'```\n{results["train"]}\n{results["test"]}\n```'
    return '\n'.join([*lines, '', facts, '', commands])


def draw(path: Path) -> None:
    """The rows of CIFAR-100 as a picture: Top-1 and Cons.8 with its 95% interval, the paper's figures beside them."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    results = json.loads((HERE / 'results' / 'table2.json').read_text())
    rows = [row for row in results['rows'] if row['data'] == 'CIFAR-100'][::-1]
    panels = [('accuracy/top1', 'Top-1 (%)', 0), ('consistency/cons8_zero_ref', 'Cons.8, zero_ref (%)', 1)]
    figure, axes = plt.subplots(1, 2, figsize=(8, 1 + 0.4 * len(rows)), sharey=True, layout='constrained')
    for axis, (key, label, column) in zip(axes, panels, strict=True):
        for y, row in enumerate(rows):
            value = row['figures'][key]
            low, high = (row['figures'].get(f'{key}_{end}', value) for end in ('low', 'high'))
            axis.errorbar(value, y, xerr=[[value - low], [high - value]], fmt='o', color='#0b6e99', capsize=3)
            axis.annotate(
                f'{value:.1f}', (value, y), xytext=(0, 7), textcoords='offset points', ha='center', fontsize=8
            )
            paper = results['paper']['CIFAR-100'].get(row['method'])
            if paper:
                axis.plot(paper[column], y, 'x', color='#b5541c')
        axis.set_xlabel(label)
        axis.set_ylim(-0.6, len(rows) - 0.4)
        axis.grid(axis='x', alpha=0.3)
        axis.spines[['top', 'right']].set_visible(False)
    axes[0].set_yticks(range(len(rows)), [row['method'] for row in rows])
    axes[0].plot([], [], 'o', color='#0b6e99', label='mmposenc, equal crop range (Cons.8: 95% interval)')
    axes[0].plot([], [], 'x', color='#b5541c', label='paper')
    figure.legend(loc='outside upper right', ncols=2, frameon=False, fontsize=8)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)


def draw_first_pass(path: Path) -> None:
    """Accuracy of the location against the images seen within the first pass, beside chance."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    results = json.loads((HERE / 'results' / 'first_pass.json').read_text())
    figure, axis = plt.subplots(figsize=(6, 3), layout='constrained')
    styles = {
        'GAPNet': {'color': '#0072b2', 'marker': 'o'},
        'sorted channels': {'color': '#009e73', 'marker': '^'},
        'PermuteNet': {'color': '#d55e00', 'marker': 's'},
        'sum of the channels': {'color': '#cc79a7', 'marker': 'v'},
    }
    for run in results['runs']:
        seen = [point['images'] for point in run['points']]
        reached = [point['accuracy'] for point in run['points']]
        axis.plot(seen, reached, label=run['net'], markersize=4, **styles[run['net']])
    axis.axhline(100 / 9, color='0.5', linestyle=':', linewidth=1)
    axis.annotate('chance', (49968, 100 / 9), xytext=(0, 4), textcoords='offset points', ha='right', fontsize=8)
    axis.set_xscale('log')
    axis.set_xlabel('images seen, of 50,000 (log scale)')
    axis.set_ylabel('location accuracy (%)')
    axis.set_ylim(0, 103)
    axis.legend(frameon=False, fontsize=8, loc='center right')
    axis.grid(alpha=0.3)
    axis.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, dpi=150)


def narrow_table1() -> str:
    """Table 1's 3x3 grid with the narrow network."""
    return grid_accuracies('narrow_table1.json')


def grid_fifth() -> str:
    """GAPNet after a fifth of a pass over CIFAR-10."""
    return grid_accuracies('grid_fifth.json')


def grid_digits() -> str:
    """Table 1 on handwritten digits."""
    return grid_accuracies('grid_digits.json')


def grid_accuracies(name: str) -> str:
    """Accuracies of runs in the form of table1.json: a row for each task, net and padding, all seeds in a cell."""
    runs = json.loads((HERE / 'results' / name).read_text())['runs']
    nets = {'gapnet': 'GAPNet', 'permutenet': 'PermuteNet', 'sortnet': 'sorted channels (ours)'}
    sizes = sorted({run['grid_size'] for run in runs})
    lines = [f'| task | net | padding | {" | ".join(f"{n}x{n}" for n in sizes)} |', '|---' * (len(sizes) + 3) + '|']
    for task, net, padding in dict.fromkeys((run['task'], run['net'], run['padding']) for run in runs):
        cells = []
        for size in sizes:
            own = [run for run in runs if (run['task'], run['net'], run['padding']) == (task, net, padding)]
            own = [run for run in own if run['grid_size'] == size]
            paper = next((f' ({run["paper"]})' for run in own if run['paper'] is not None), '')
            cells.append((', '.join(f'{run["accuracy"]:.1f}' for run in own) or '-') + paper)
        lines.append(f'| {task} | {nets[net]} | {padding} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def draw_grid_digits(path: Path) -> None:
    """Accuracy against grid size on handwritten digits, the paper's on CIFAR-10 dashed."""
    from mmposenc.figures.grid_figures import draw_accuracy, save_figure

    runs = json.loads((HERE / 'results' / 'grid_digits.json').read_text())['runs']
    save_figure(draw_accuracy([run for run in runs if run['task'] == 'location']), path)


def read_csv(name: str) -> list[dict[str, str]]:
    """Rows of a table of a sweep on CamVid."""
    with (HERE / 'results' / name).open(newline='') as file:
        return list(csv.DictReader(file))


def between(row: dict[str, str], name: str) -> str:
    """A figure with its interval."""
    value, low, high = (float(row[f'{name}{end}']) for end in ('', '_low', '_high'))
    return f'{value:.1f} [{low:.1f}, {high:.1f}]'


def camvid_control() -> str:
    """The network of half the size."""
    return control('camvid/random_control.csv')


def camvid_full_control() -> str:
    """The network of the full size."""
    return control('camvid_full/random_control_car.csv', 'camvid_full/random_control_centred.csv')


def control(*names: str) -> str:
    """Harm of the top N of every ranking, and its excess over random channels (Fig. 4)."""
    rows = {
        (row['layer'], row['ranking'], row['num_channels']): row
        for name in names
        for row in read_csv(name)
        if row['region'] == 'overall'
    }
    layers, rankings, _ = (list(dict.fromkeys(names)) for names in zip(*rows, strict=True))
    lines = [f'| off at, N | random | {" | ".join(rankings)} |', '|---' * (len(rankings) + 2) + '|']
    for layer in layers:
        for number in ('100', '500', '1000'):
            own = [rows[layer, ranking, number] for ranking in rankings]
            cells = [f'{float(own[0]["harm_random"]):.1f}', *(between(row, 'excess') for row in own)]
            lines.append(f'| `{layer}`, {number} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def camvid_windows() -> str:
    """Whether windows further down a ranking harm less (Fig. 4, bottom): rank correlation of place and mIoU."""
    from scipy.stats import spearmanr

    rows = [row for row in read_csv('camvid/fig4.csv') if row['kind'] == 'window']
    layers, rankings = (list(dict.fromkeys(row[name] for row in rows)) for name in ('layer', 'ranking'))
    lines = [f'| off at | {" | ".join(rankings)} |', '|---' * (len(rankings) + 1) + '|']
    for layer in layers:
        cells = []
        for ranking in rankings:
            own = [row for row in rows if (row['layer'], row['ranking']) == (layer, ranking)]
            rho = spearmanr([int(row['start']) for row in own], [float(row['value']) for row in own]).statistic
            ends = (math.tanh(math.atanh(rho) + side * 1.96 / math.sqrt(len(own) - 3)) for side in (-1, 1))
            cells.append(f'{rho:.2f} [{", ".join(f"{end:.2f}" for end in ends)}]')
        lines.append(f'| `{layer}` | {" | ".join(cells)} |')
    return '\n'.join(lines)


def camvid_attack() -> str:
    """The network of half the size."""
    return attack('camvid', ('pedestrian', 'car', 'centred'))


def camvid_full_attack() -> str:
    """The network of the full size."""
    return attack('camvid_full', ('car', 'centred'))


def attack(folder: str, kinds: Sequence[str]) -> str:
    """Harm in each half by the channels of its own side, of both and of the other side (Fig. 6), at N = 100."""
    lines = [
        '| rankings | off at, half | harm own / overall / other | own - overall | overall - other | order holds |',
        '|---|---|---|---|---|---|',
    ]
    for kind in kinds:
        rows = read_csv(f'{folder}/region_attack_{kind}.csv')
        for layer, region in dict.fromkeys((row['layer'], row['region']) for row in rows):
            own = [row for row in rows if (row['layer'], row['region']) == (layer, region)]
            (shown,) = (row for row in own if row['num_channels'] == '100')
            harm = ' / '.join(f'{float(shown[f"harm_{side}"]):.1f}' for side in ('own', 'overall', 'other'))
            gaps = ' | '.join(between(shown, name) for name in ('own_minus_overall', 'overall_minus_other'))
            holds, certain = (sum(row[name] == 'true' for row in own) for name in ('holds', 'certain'))
            verdict = f'at {holds} of {len(own)} N, beyond chance at {certain}'
            lines.append(f'| {kind} | `{layer}`, {region} | {harm} | {gaps} | {verdict} |')
    return '\n'.join(lines)


def page() -> str:
    """The whole page."""
    text = (HERE / 'results.in.md').read_text()
    tables = (table2, narrow, narrow_table1, grid_fifth, grid_digits)
    tables += (camvid_control, camvid_windows, camvid_attack, camvid_full_control, camvid_full_attack)
    for table in tables:
        text = text.replace(f'{{{{ {table.__name__} }}}}', table())
    return text


def metafile() -> str:
    """The entries of the model index: one for each classifier with measured figures, as OpenMMLab's tools read them."""
    results = json.loads((HERE / 'results' / 'table2.json').read_text())
    collections = {'AugShift': 'Two shifted views (Sec. 4.1)', 'Shift baseline': 'One shifted view'}
    entries = [
        {
            'Name': Path(row['config']).stem,
            'In Collection': 'AugShift' if 'augshift' in row['config'] else 'Shift baseline',
            'Config': row['config'],
            'Metadata': {'Training Data': row['data'], 'Epochs': row['epochs'], 'Training Resources': '1x H200 GPU'},
            'Results': [
                {
                    'Task': 'Image Classification',
                    'Dataset': row['data'],
                    'Metrics': {
                        'Top 1 Accuracy': row['figures']['accuracy/top1'],
                        'Cons.8 zero_ref': row['figures']['consistency/cons8_zero_ref'],
                    },
                }
            ],
        }
        for row in results['rows']
        if 'options' not in row  # the configs as they stand
    ]
    index = {
        'Collections': [
            {'Name': name, 'Metadata': {'Training Techniques': [technique]}, 'Paper': dict(PAPER)}
            for name, technique in collections.items()
        ],
        'Models': entries,
    }
    return '# Rendered from docs/results by docs/render_results.py.\n' + yaml.dump(index, sort_keys=False, width=120)


def main(argv: list[str]) -> int:
    texts = {HERE / 'results.md': page(), METAFILE: metafile()}
    if argv == ['--check']:
        differing = [path.name for path, text in texts.items() if not path.exists() or path.read_text() != text]
        print(
            f'run: python docs/render_results.py ({", ".join(differing)})'
            if differing
            else 'all agree with the figures'
        )
        return 1 if differing else 0
    if argv:
        print(f'usage: render_results.py [--check], got {" ".join(argv)}')
        return 2
    for path, text in texts.items():
        path.write_text(text)
    draw(HERE / 'images' / 'cons8_cifar100.png')
    draw_first_pass(HERE / 'images' / 'first_pass.png')
    draw_grid_digits(HERE / 'images' / 'grid_digits.png')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
