"""Compare rankings of the same channels: rank correlation, and shared top-ranked channels.

Examples:
    mmposenc compare overall.json left.json right.json
    mmposenc compare overall.json left.json --top 50
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from mmposenc.cli import common


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument('rankings', nargs='+', metavar='FILE', help='files that mmposenc rank wrote')
    parser.add_argument('--top', type=int, default=100, metavar='N', help='top-ranked channels compared (default: 100)')


def run(args: Namespace) -> None:
    """Print both tables in Markdown."""
    from scipy.stats import spearmanr

    from mmposenc.ranking import Ranking

    rankings = {Path(path).stem: Ranking.load(path) for path in args.rankings}
    if len(rankings) < max(2, len(args.rankings)):
        raise ValueError(f'rankings must be two or more files of different names, got {" ".join(args.rankings)}')
    totals = {name: ranking.num_channels for name, ranking in rankings.items()}
    total = min(totals.values())
    if len(set(totals.values())) > 1:
        raise ValueError(f'all rankings must have the same number of channels, got {totals}')
    if not 1 <= args.top <= total:
        raise ValueError(f'--top must be from 1 to the {total} channels, got {args.top}')

    def correlation(one: str, other: str) -> str:
        scores = rankings[one].scores, rankings[other].scores
        varies = all(len({*some}) > 1 for some in scores)
        return f'{spearmanr(*scores).statistic:.2f}' if varies else '-'

    def shared(one: str, other: str) -> str:
        return str(len({*rankings[one].order[: args.top]} & {*rankings[other].order[: args.top]}))

    chance = args.top**2 / total
    common.say(f'Spearman rank correlation of the scores of {total} channels:\n')
    common.say(_table([*rankings], correlation))
    common.say(f'\nCommon channels among the {args.top} top-ranked; {chance:.1f} are expected by chance:\n')
    common.say(_table([*rankings], shared))


def _table(names: list[str], compare: Callable[[str, str], str]) -> str:
    """Every pair once, below the diagonal."""
    lines = [['', *names[:-1]], ['---'] * len(names)]
    for i in range(1, len(names)):
        lines.append([names[i], *(compare(names[i], other) for other in names[:i]), *[''] * (len(names) - 1 - i)])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
