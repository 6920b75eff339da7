"""Sweep the number of channels switched off, for several rankings, in one pass over the data; go on where it stopped.

Examples:
    python tools/sweep.py CONFIG CKPT --rankings overall.json left.json right.json --num-channels 0:2000:100 \\
        --windows 100 --random 5 --layer decode_head.image_pool.0 'backbone[-1]' --out work_dirs/sweep
    torchrun --nproc_per_node 8 tools/sweep.py CONFIG CKPT --rankings overall.json --num-channels 10,0:2000:100
"""

from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmposenc.cli import common as command_line
from mmposenc.host.config_changes import type_name

MOST_NUMBERS = 1_000_000  # a list of as many still fits


def main(argv: Sequence[str] | None = None) -> None:
    """Sweep, and end with the folder of the result (Sec. 4.2.2-4.2.3, Fig. 4 and 6)."""
    parser = command_line.make_parser(__doc__)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument('checkpoint', help='checkpoint file or URL; it must fit the model of the config exactly')
    parser.add_argument('--rankings', nargs='+', required=True, metavar='FILE', help='files of tools/rank_channels.py')
    parser.add_argument(
        '--num-channels',
        type=numbers,
        default=[],
        metavar='N',
        help='how many of the best to switch off: 0:2000:100 (as range, end excluded), 10,100,500 or both',
    )
    parser.add_argument('--windows', type=int, default=0, metavar='SIZE', help='also windows of SIZE ranks (Fig. 4)')
    parser.add_argument('--random', type=int, default=0, metavar='DRAWS', help='also DRAWS random orders, the control')
    parser.add_argument('--layer', nargs='+', metavar='PATH', help="where to switch off (default: the rankings' layer)")
    parser.add_argument('--out', help='folder of the result (default: sweep in the work directory)')
    parser.add_argument('--level', default='auto', choices=['auto', '1', '2', '3'], help='how much variants share')
    parser.add_argument('--memory-budget', type=float, default=1024, metavar='MIB', help='for variants held at once')
    parser.add_argument('--max-shift', type=int, default=8, metavar='N', help="N of a classifier's Cons.N, 0 for none")
    parser.add_argument('--allow-other-weights', action='store_true', help='take rankings of other weights')
    args = parser.parse_args(argv)
    cfg = command_line.load_config(args)
    command_line.require(cfg, 'model', 'test_dataloader', 'test_cfg')
    command_line.load_weights(cfg, args.checkpoint)
    metric = _region_metric(cfg.get('test_evaluator'))
    cfg.test_evaluator = []
    cfg.test_cfg = dict(
        type='mmposenc.AblationSweepLoop',
        rankings=args.rankings,
        num_channels=args.num_channels,
        window=args.windows,
        num_random=args.random,
        layers=args.layer,
        out=args.out,
        level=args.level,
        memory_budget=args.memory_budget,
        regions=metric.get('regions'),
        ignore_index=metric.get('ignore_index', 255),
        max_shift=args.max_shift,
        allow_other_weights=args.allow_other_weights,
    )
    with command_line.lock(cfg, args.out or Path(cfg.work_dir, 'sweep'), '--out'):
        runner = command_line.build_runner(cfg)
        figures = runner.test()
    command_line.say(f'{runner.test_loop.out}: sweep.csv, sweep.json and sweep_counts.npz')
    command_line.report(figures, args.checkpoint)


def numbers(text: str) -> list[int]:
    """The integers of '0:2000:100' (as range, end excluded), of '10,100,500', or of both joined by commas (ours)."""
    listed: list[int] = []
    for part in text.split(','):
        try:
            bounds = [int(bound) for bound in part.split(':')]
            found = bounds if len(bounds) == 1 else range(*bounds)
        except (ValueError, TypeError):
            raise ArgumentTypeError(
                f'must be integers and ranges begin:end:step joined by commas, such as 10,0:2000:100, got {text!r:.100}'
            ) from None
        if found[MOST_NUMBERS - len(listed) :]:
            raise ArgumentTypeError(f'names more than {MOST_NUMBERS} numbers, far more than channels: {text!r:.100}')
        listed += found
    if not listed:
        raise ArgumentTypeError(f'holds no number: the end of a range is excluded, got {text!r:.100}')
    return listed


def _region_metric(evaluator: Any) -> dict:
    """The config's RegionIoUMetric, whose regions are those of the sweep too."""
    metrics = evaluator if isinstance(evaluator, list) else [evaluator or {}]
    return next((metric for metric in metrics if type_name(metric) == 'mmposenc.RegionIoUMetric'), {})


if __name__ == '__main__':
    command_line.run(main)
