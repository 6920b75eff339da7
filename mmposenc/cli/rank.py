"""Rank the channels of a layer by how much they encode position, and write ranking.json (Sec. 4.2.1).

Examples:
    mmposenc rank configs/deeplabv3_r50_camvid.py work_dirs/deeplabv3_r50_camvid/iter_4000.pth
    mmposenc rank CONFIG CKPT --statistic signed --region-list data/camvid/val-left.txt --out left.json
    torchrun --nproc_per_node 8 -m mmposenc rank CONFIG CKPT --pair flip_image roll_image
"""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmposenc.cli import common

# As in mmposenc.ranking, which imports torch.
STATISTICS = ('abs', 'signed', 'relative', 'centred', 'mean_activation')
PAIRS: tuple[str, ...] = ('flip_image', 'flip_image_vertical', 'roll_image', 'roll_image_vertical')
PAIRS += ('flip_kernels', 'flip_image_flipped_kernels')


def add_arguments(parser: ArgumentParser) -> None:
    common.add_run_arguments(parser)
    add = parser.add_argument
    add('--out', help='file of the ranking (default: ranking.json in the work directory)')
    add('--layer', default='backbone[-1]', help='dotted module path (default: backbone[-1])')
    add('--pair', nargs='+', default=['flip_image'], choices=PAIRS, help='default: flip_image, as in Eq. 2')
    add('--statistic', nargs='+', default=['abs'], choices=STATISTICS, help='default: abs, as in Eq. 2')
    add('--reference', metavar='FILE', help='for centred: the signed ranking of the whole data set')
    add('--region-list', help='rank over the images of this list, as mmposenc region-lists writes it')
    add('--region', help="region of the list (default: its name's end, left of val-left.txt)")
    add('--max-images', type=int, metavar='N', help='rank over the first N images only')
    split = 'every second image only, so that a sweep can use the others (--split)'
    add('--rank-split', default='all', choices=['all', 'even', 'odd'], help=split)
    add('--channel-dim', type=int, metavar='DIM', help="dimension of the layer's channels, if unclear")
    add('--prefix-tokens', type=int, metavar='N', help='tokens that are not patches, if unclear')
    add('--allow-slide', action='store_true', help='accept a model that is tested by sliding windows')


def run(args: Namespace) -> None:
    """Rank, and end with the files (Sec. 4.2.1, Eq. 2 and 3)."""
    cfg = common.load_config(args, 'model', 'test_dataloader', 'test_cfg')
    common.check_file(args.out)
    common.check_positive(args, 'max_images')
    if args.region_list and not Path(args.region_list).is_file():
        raise FileNotFoundError(f'there is no region list at {args.region_list}: make one with mmposenc region-lists')
    names = ('layer', 'out', 'reference', 'rank_split', 'region_list', 'max_images', 'channel_dim', 'prefix_tokens')
    region = args.region or (Path(args.region_list).stem.split('-')[-1] if args.region_list else 'overall')
    loop = dict(type='mmposenc.ChannelRankingLoop', pairs=args.pair, statistics=args.statistic, region=region)
    cfg.test_evaluator = []
    cfg.test_cfg = {**loop, **{name: getattr(args, name) for name in (*names, 'allow_slide')}}
    runner = common.build_runner(cfg, args.verbose)
    figures = runner.test()
    for path, ranking in runner.test_loop.rankings.items():
        conditions = ', '.join((ranking.pair, ranking.statistic, ranking.region))
        common.say(f'{os.path.relpath(path)}: {conditions}; top-ranked channels {str(ranking.order[:10])[1:-1]}')
    common.report(figures, args.checkpoint)
