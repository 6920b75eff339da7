"""Compare rankings of the same channels: rank correlation, and how many top-ranked channels two of them share.

Examples:
    mmposenc compare overall.json left.json right.json
    mmposenc compare overall.json left.json --top 50
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mmposenc.cli import common

if TYPE_CHECKING:
    from mmposenc.ranking import Ranking


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument('rankings', nargs='+', metavar='FILE', help='files that mmposenc rank wrote')
    parser.add_argument('--top', type=int, default=100, metavar='N', help='top-ranked channels compared (default: 100)')


def run(args: Namespace) -> None:
    """Print both tables in Markdown."""
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
    common.say(f'Spearman rank correlation of the scores of {total} channels:\n')
    common.say(_table(rankings, _correlation))
    chance = args.top**2 / total
    common.say(f'\nCommon channels among the {args.top} top-ranked; {chance:.1f} are expected by chance:\n')
    common.say(_table(rankings, lambda one, other: str(len({*one.order[: args.top]} & {*other.order[: args.top]}))))


def _correlation(one: 'Ranking', other: 'Ranking') -> str:
    """Spearman's coefficient; equal scores have equal ranks."""
    from scipy.stats import spearmanr

    if len({*one.scores}) == 1 or len({*other.scores}) == 1:
        return '-'  # Nothing varies.
    return f'{spearmanr(one.scores, other.scores).statistic:.2f}'


def _table(rankings: 'dict[str, Ranking]', compare: 'Callable[[Ranking, Ranking], str]') -> str:
    """Every pair once, below the diagonal."""
    names = list(rankings)
    lines = [['', *names[:-1]], ['---'] * len(names)]
    for place, name in enumerate(names[1:], start=1):
        cells = [compare(rankings[name], rankings[other]) for other in names[:place]]
        lines.append([name, *cells, *[''] * (len(names) - 1 - place)])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
