"""Ablate more and more channels, for several rankings, in one pass over the data (Fig. 4 and 6).

The same command resumes a sweep where it was stopped.

Examples:
    mmposenc sweep CONFIG CKPT --rankings overall.json left.json right.json --num-channels 0:2000:100 \\
        --windows 100 --matched 39 --layer decode_head.image_pool.0 'backbone[-1]' --out work_dirs/sweep
    torchrun --nproc_per_node 8 -m mmposenc sweep CONFIG CKPT --rankings overall.json --num-channels 10,0:2000:100
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from mmposenc.cli import common

_MOST = 1_000_000  # a list of as many still fits


def add_arguments(parser: ArgumentParser) -> None:
    common.add_run_arguments(parser)
    add = parser.add_argument
    add('--rankings', nargs='+', required=True, metavar='FILE', help='files that mmposenc rank wrote')
    number = 'how many top-ranked channels to ablate: 0:2000:100 (as range, end excluded), 10,100,500 or both'
    add('--num-channels', type=numbers, default=[], metavar='N', help=number)
    add('--windows', dest='window', type=int, default=0, metavar='SIZE', help='also windows of SIZE ranks')
    orders = 'random orders to compare with, at least 19 for a test (default: 39)'
    add('--random', dest='num_random', type=int, default=39, metavar='DRAWS', help=orders)
    matched = 'also random orders matched to each ranking in strength (default: 0)'
    add('--matched', dest='num_matched', type=int, default=0, metavar='DRAWS', help=matched)
    add('--split', default='all', choices=['all', 'even', 'odd'], help='which images to sweep, as --rank-split')
    add('--layer', dest='layers', nargs='+', metavar='PATH', help="where to ablate (default: the rankings' layer)")
    add('--out', help='folder of the result (default: sweep in the work directory)')
    add('--level', default='auto', choices=['auto', '1', '2', '3'], help='how much variants share')
    add('--memory-budget', type=float, default=1024, metavar='MIB', help='for variants (default: 1024)')
    add('--max-shift', type=int, default=8, metavar='N', help='N of Cons.N, 0 for none (default: 8)')
    add('--allow-other-weights', action='store_true', help='accept rankings of other weights')
    add('--allow-slide', action='store_true', help='accept sliding windows, ablated in each')


def run(args: Namespace) -> None:
    """Sweep, and end with the folder of the result (Sec. 4.2.2-4.2.3, Fig. 4 and 6)."""
    cfg = common.load_config(args, 'model', 'test_dataloader', 'test_cfg')
    names = ['rankings', 'num_channels', 'window', 'num_random', 'num_matched', 'layers', 'out', 'level', 'split']
    names += ['memory_budget', 'max_shift', 'allow_other_weights', 'allow_slide']
    metric = _region_metric(cfg.get('test_evaluator'))
    regions = dict(regions=metric.get('regions'), ignore_index=metric.get('ignore_index', 255))
    cfg.test_evaluator = []
    cfg.test_cfg = dict(type='mmposenc.AblationSweepLoop', **regions, **{name: getattr(args, name) for name in names})
    with common.lock(cfg, args.out or Path(cfg.work_dir, 'sweep'), '--out'):
        runner = common.build_runner(cfg, args.verbose)
        figures = runner.test()
    out = runner.test_loop.out
    tests = 'claims.csv the tests against chance' if Path(out, 'claims.csv').is_file() else 'too few orders for a test'
    common.say(f'written to {out}; sweep.csv has the figures, {tests}')
    common.report(figures, args.checkpoint)


def numbers(text: str) -> list[int]:
    """The integers of '0:2000:100' (as range, end excluded), of '10,100,500', or of both joined by commas."""
    try:
        parts = [[int(bound) for bound in part.split(':')] for part in text.split(',')]
        ranges = [range(bounds[0], bounds[0] + 1) if len(bounds) == 1 else range(*bounds) for bounds in parts]
        total = sum(map(len, ranges))
    except (ValueError, TypeError, OverflowError):
        total = 0
    if not 0 < total <= _MOST:
        form = f'integers and ranges begin:end:step (end excluded) joined by commas, 1 to {_MOST:,} numbers in all'
        raise ArgumentTypeError(f'must be {form}, such as 10,0:2000:100; got {text!r:.100}')
    return [number for each in ranges for number in each]


def _region_metric(evaluator: Any) -> dict:
    """The config's metric by region, else mmseg's, else one's own; the sweep has its regions and ignored label too."""
    from mmposenc.host.config import type_name

    if isinstance(evaluator, dict) and 'metrics' in evaluator:  # mmengine's Evaluator
        evaluator = evaluator['metrics']
    metrics = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator or {}]
    by_type = {type_name(metric): metric for metric in reversed(metrics)}
    kinds = ('mmposenc.RegionIoUMetric', 'IoUMetric', 'mmseg.IoUMetric')
    own = (metric for metric in metrics if 'ignore_index' in metric)  # a subclass, or another metric of segmentation
    return next((by_type[kind] for kind in kinds if kind in by_type), None) or next(own, {})
