"""Compare rankings of the same channels: rank correlation, and how many of the best channels two of them share.

Example:
    python tools/compare_rankings.py overall.json left.json right.json --top 100
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path

from mmposenc.cli import common as command_line

# isort: split
from scipy.stats import spearmanr

from mmposenc.ranking import Ranking


def main(argv: Sequence[str] | None = None) -> None:
    """Print both tables in Markdown (ours)."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument('rankings', nargs='+', metavar='FILE', help='files of tools/rank_channels.py')
    parser.add_argument('--top', type=int, default=100, metavar='N', help='best channels compared (default: 100)')
    args = parser.parse_args(argv)
    rankings = {Path(path).stem: Ranking.load(path) for path in args.rankings}
    if len(rankings) < max(2, len(args.rankings)):
        raise ValueError(f'rankings must be two or more files of different names, got {" ".join(args.rankings)}')
    totals = {name: ranking.num_channels for name, ranking in rankings.items()}
    total = min(totals.values())
    if len(set(totals.values())) > 1:
        raise ValueError(f'all rankings must have the same number of channels, got {totals}')
    if not 1 <= args.top <= total:
        raise ValueError(f'--top must be from 1 to the {total} channels, got {args.top}')
    command_line.say(f'Spearman rank correlation of the scores of {total} channels:\n')
    command_line.say(table(rankings, correlation))
    chance = args.top**2 / total
    command_line.say(f'\nCommon channels among the best {args.top}; {chance:.1f} are to be expected by chance:\n')
    command_line.say(
        table(rankings, lambda one, other: str(len({*one.order[: args.top]} & {*other.order[: args.top]})))
    )


def correlation(one: Ranking, other: Ranking) -> str:
    """Spearman's coefficient; equal scores have equal ranks (ours)."""
    if len({*one.scores}) == 1 or len({*other.scores}) == 1:
        return '-'  # Nothing varies.
    return f'{spearmanr(one.scores, other.scores).statistic:.2f}'


def table(rankings: dict[str, Ranking], compare: Callable[[Ranking, Ranking], str]) -> str:
    """Every pair once, below the diagonal."""
    names = list(rankings)
    lines = [['', *names[:-1]], ['---'] * len(names)]
    for place, name in enumerate(names[1:], start=1):
        cells = [compare(rankings[name], rankings[other]) for other in names[:place]]
        lines.append([name, *cells, *[''] * (len(names) - 1 - place)])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


if __name__ == '__main__':
    command_line.run(main)
