"""The tables of the status page: for every table and figure of the paper, ours beside the paper's, name and minutes."""

import re
from collections.abc import Mapping, Sequence

from mmposenc.cli.experiments import EXPERIMENTS, FULL, Cell, Experiment, grids, shifts
from mmposenc.cli.reproduce import PUBLISHED, results, shown

_CHANCE = (
    'Mean loss in points with the channels of Eq. 2 ablated / with random ones / p / p among equally active channels.'
)
_HALVES = "Mean loss of mIoU in points in this half, to its own channels / overall ones / the other half's / p of D."
# The tables of the status page, in the paper's order: pattern of their items, title, first column, what a cell holds.
TABLES = (
    (
        r'Table 1: (.*), 3x3',
        'Table 1: locating or classifying a patch',
        'task, padding, network',
        'Accuracy in %, on grids of 3x3 / 5x5 / 7x7 cells.',
    ),
    (r'Table 2: CIFAR-100, (.*)', 'Table 2: CIFAR-100', 'method', 'Top-1 / Cons.8 (`zero_ref`) in %.'),
    (r'Table 2: CIFAR-10, (.*)', 'Table 2: CIFAR-10', 'method', 'Top-1 / Cons.8 (`zero_ref`) in %.'),
    (r'Table 2: ImageNet, (.*)', 'Table 2: ImageNet', 'method', 'Top-1 / Cons.8 / Cons.16 (`zero_ref`) in %.'),
    (r'Fig. 4, top, (.*):', 'Fig. 4, top: what the top-ranked channels cost', 'ablated at', _CHANCE),
    (
        r'(Fig. 4, bottom.*|Fig. 5.*)',
        'Fig. 4, bottom, and Fig. 5: pictures',
        'figure',
        'See [Fig. 4 to 6](figures4to6.md).',
    ),
    (r'Fig. 6, (.*):', 'Fig. 6: what the left half loses', 'ablated at', _HALVES),
    (r'Supplement, attack on the right half, (.*):', 'Supplement: what the right half loses', 'ablated at', _HALVES),
    (
        r'Supplement: .* on (.*)',
        'Supplement: other sizes of shifts',
        'data, method',
        'Cons.4 / Cons.12 / Cons.16 in %.',
    ),
    (
        r'Supplement, position decoded from a frozen network, (.*):',
        'Supplement: position in frozen networks',
        'network',
        'How often the cell of a 3x3 grid is predicted from the last pooled features, in %.',
    ),
    (r'Supplement, (.*?)(?:, AP)?: mean', 'Supplement: object recognition and detection', 'task, network', _CHANCE),
)


def status_table() -> str:
    """All of them in Markdown, under their titles."""
    done = results(PUBLISHED)
    # Table 1 and 2 are first, in the paper's order.
    items = [cell.item for experiment in (*grids(), *shifts(), *EXPERIMENTS) for cell in experiment.cells]
    rows: dict[str, list[tuple[Experiment, Cell]]] = {item: [] for item in items}
    for experiment in EXPERIMENTS:
        for cell in experiment.cells:
            rows[cell.item].append((experiment, cell))
    texts = []
    for pattern, title, first, meaning in TABLES:
        cells = [[found[1], *_status(rows.pop(item), done)] for item in [*rows] if (found := re.match(pattern, item))]
        # Those at full size first, then those at reduced size, of each first those that the paper has.
        cells.sort(key=lambda row: (not row[2], not row[3], not row[1]))
        head = [first, 'paper', 'full size', 'reduced size', 'name', 'minutes']
        filled = [[*row[:2], row[2] or 'not yet', *row[3:]] for row in cells]
        kept = [i for i in range(len(head)) if any(row[i] for row in filled)]
        lines = [[line[i] for i in kept] for line in (head, ['---'] * len(head), *filled)]
        texts.append('\n'.join([f'### {title}\n\n{meaning}\n', *(f'| {" | ".join(line)} |' for line in lines)]))
    if rows:
        raise ValueError(f'no table of the status page has {", ".join(rows)}')
    return '\n\n'.join(texts)


def _status(pairs: Sequence[tuple[Experiment, Cell]], done: Mapping) -> list[str]:
    """The paper's figures, those at full and at reduced size, name and minutes of a row of the status page."""
    reached: dict[str, str] = {}
    for label in dict.fromkeys(cell.label for _, cell in pairs):
        alike = [(e, cell) for e, cell in pairs if cell.label == label]
        records = [[done[key] for key in sorted(done) if key[0] == e.name] for e, _ in alike]
        texts = [shown(e, each, cell) for (e, cell), each in zip(alike, records, strict=True)]
        if any(texts):
            seeds = max(map(len, records))
            reached[label] = ' / '.join(text or '-' for text in texts) + f' (n = {seeds})' * (seeds > 1)
    full = reached.pop(FULL, '')
    reduced = '<br>'.join(f'{label}: {text}' for label, text in reached.items())
    main = [pair for pair in pairs if pair[1].label == FULL] or pairs
    paper = ' / '.join(cell.paper for _, cell in main if cell.paper)
    first = main[0][0].name
    name = first if len(main) == 1 else first.rpartition('-')[0]  # without the grid
    minutes = ' / '.join(f'{sum(getattr(e, kind) * len(e.seeds) for e, _ in main):,.0f}' for kind in ('gpu', 'cpu'))
    return [paper, full, reduced, f'`{name}`', minutes]
