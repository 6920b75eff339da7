"""Rank the channels of a network by how much they encode position, and write ranking.json.

Examples:
    python tools/rank_channels.py configs/deeplabv3_r50_camvid.py work_dirs/deeplabv3_r50_camvid/iter_4000.pth
    python tools/rank_channels.py CONFIG CKPT --statistic signed --region-list data/camvid/val-left.txt --out left.json
    torchrun --nproc_per_node 8 tools/rank_channels.py CONFIG CKPT --pair flip_image roll_image
"""

import os
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmposenc.channels.pairs import PAIRS
from mmposenc.channels.sums import STATISTICS
from mmposenc.cli import common as command_line


def main(argv: Sequence[str] | None = None) -> None:
    """Rank, and end with the files (Sec. 4.2.1, Eq. 2 and 3)."""
    parser = command_line.make_parser(__doc__)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument('checkpoint', help='checkpoint file or URL; it must fit the model of the config exactly')
    parser.add_argument('--out', help='file of the ranking (default: ranking.json in the work directory)')
    parser.add_argument('--layer', default='backbone[-1]', help='dotted module path (default: backbone[-1], its end)')
    parser.add_argument('--pair', nargs='+', default=['flip_image'], choices=PAIRS, help="default: flip_image, Eq. 2's")
    parser.add_argument('--statistic', nargs='+', default=['abs'], choices=STATISTICS, help="default: abs, Eq. 2's")
    parser.add_argument('--reference', metavar='FILE', help='for centred: the signed ranking of the whole data set')
    parser.add_argument('--region-list', help='rank over the images of this list, as tools/make_region_lists.py writes')
    parser.add_argument('--region', help="what the list is of (default: its name's end, left of val-left.txt)")
    parser.add_argument('--max-images', type=int, metavar='N', help='rank over the first N images only')
    parser.add_argument('--allow-slide', action='store_true', help='take a model that is tested by sliding windows')
    args = parser.parse_args(argv)
    cfg = command_line.load_config(args)
    command_line.require(cfg, 'model', 'test_dataloader', 'test_cfg')
    command_line.load_weights(cfg, args.checkpoint)
    if args.region_list:
        cfg.test_dataloader.dataset.ann_file = _listed(args.region_list)
    if args.max_images is not None:
        if args.max_images < 1:
            raise ValueError(f'--max-images must be at least 1, got {args.max_images}')
        cfg.test_dataloader.dataset.indices = args.max_images
    cfg.test_evaluator = []
    cfg.test_cfg = dict(
        type='mmposenc.ChannelRankingLoop',
        layer=args.layer,
        pairs=args.pair,
        statistics=args.statistic,
        out=args.out,
        region=args.region or (Path(args.region_list).stem.split('-')[-1] if args.region_list else 'overall'),
        reference=args.reference,
        allow_slide=args.allow_slide,
    )
    runner = command_line.build_runner(cfg)
    figures = runner.test()
    _say_rankings(runner)
    command_line.report(figures, args.checkpoint)


def _listed(path: str) -> str:
    """The path as every data set takes it, below its root or not."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no region list at {path}: make one with tools/make_region_lists.py')
    try:
        names = Path(path).read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f'the region list {path} is no text: {error}') from None
    if Path(path).suffix in ('.json', '.pickle', '.pkl', '.yaml', '.yml'):
        raise ValueError(f'the region list {path} must hold a name a line; give it a name that ends in .txt')
    if not names.strip():
        raise ValueError(f'the region list {path} is empty, so there is nothing to rank')
    return str(Path(path).resolve())


def _say_rankings(runner: Any) -> None:
    for path, ranking in runner.test_loop.rankings.items():
        best = ', '.join(map(str, ranking.order[:10]))
        conditions = f'{ranking.pair}, {ranking.statistic}, {ranking.region}'
        command_line.say(f'{os.path.relpath(path)}: {conditions}; best channels {best}')


if __name__ == '__main__':
    command_line.run(main)
