"""Render the tables of docs/results.md from docs/results/*.json.

`python docs/render_results.py` rewrites the page and the README's picture; `--check` changes nothing and fails if they
differ from the figures. The text lies in results.in.md, where `{{ table2 }}` stands for a table.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent


def table2() -> str:
    """Top-1 and Cons.8 by protocol, with the 95% interval of the headline protocol, beside the paper's."""
    results = json.loads((HERE / 'results' / 'table2.json').read_text())
    lines = [
        '| data | method | epochs | Top-1 | Cons.8 zero_ref [95%] | zero_pair | roll_ref | reflect_ref '
        '| paper Top-1 / Cons.8 |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for row in results['rows']:
        f = {key.removeprefix('consistency/cons8_'): value for key, value in row['figures'].items()}
        paper = results['paper'][row['data']].get(row['method'])
        lines.append(
            f'| {row["data"]} | [{row["method"]}](../{row["config"]}) | {row["epochs"]} | {f["accuracy/top1"]:.2f} '
            f'| {f["zero_ref"]:.2f} [{f["zero_ref_low"]:.1f}, {f["zero_ref_high"]:.1f}] | {f["zero_pair"]:.2f} '
            f'| {f["roll_ref"]:.2f} | {f["reflect_ref"]:.2f} | {" / ".join(map(str, paper)) if paper else "-"} |'
        )
    facts = (
        f'{results["measured"]}, {results["device"]}; {results["software"]}; {results["data"]}; seed 0, one seed a row.'
    )
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
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.2), sharey=True, layout='constrained')
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


def page() -> str:
    """The whole page."""
    return (HERE / 'results.in.md').read_text().replace('{{ table2 }}', table2())


def main(argv: list[str]) -> int:
    target = HERE / 'results.md'
    if argv == ['--check']:
        same = target.exists() and target.read_text() == page()
        print('docs/results.md agrees with its figures' if same else 'run: python docs/render_results.py')
        return 0 if same else 1
    if argv:
        print(f'usage: render_results.py [--check], got {" ".join(argv)}')
        return 2
    target.write_text(page())
    draw(HERE / 'images' / 'cons8_cifar100.png')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
