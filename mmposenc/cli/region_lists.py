"""List the images that have all of a class in one half (Sec. 4.2.3).

The lists, such as val-left.txt and val-right.txt, are for `ann_file` of mmseg's data sets.

Examples:
    mmposenc region-lists configs/deeplabv3_r50_camvid.py --out-dir data/camvid
    mmposenc region-lists --citypersons data/cityscapes/gtBboxCityPersons/val --out-dir data/cityscapes
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmposenc.cli import common


def add_arguments(parser: ArgumentParser) -> None:
    source, add = parser.add_mutually_exclusive_group(required=True), parser.add_argument
    source.add_argument('config', nargs='?', help='config whose data set holds label maps, or boxes as those of mmdet')
    citypersons = "CityPersons' box files of one split, instead of label maps"
    source.add_argument('--citypersons', metavar='DIR', help=citypersons)
    add('--split', choices=['train', 'val', 'test'], default='val', help='data loader of the config')
    classes = "default: pedestrian (in Cityscapes' labels: person); several classes of label maps count as one"
    add('--class-name', nargs='+', default=['pedestrian'], metavar='CLASS', help=classes)
    add('--tolerance', type=float, default=0.0, help='share that may lie in the other half (default: 0)')
    add('--out-dir', required=True, help='folder for SPLIT-left.txt and SPLIT-right.txt')
    common.add_cfg_options(parser)
    parser.set_defaults(launcher='none', trust_checkpoint=False, work_dir=None)


def run(args: Namespace) -> None:
    """Write one list per half (Sec. 4.2.3)."""
    from mmengine.registry import DATASETS, init_default_scope

    from mmposenc.host.patches import prepare_hosts

    prepare_hosts()  # Before the data sets import mmseg, which would print warnings about its own internals.
    from mmposenc.mm.datasets.region_subsets import subsets_from_boxes, subsets_from_labels, write_list
    from mmposenc.mm.detection import has_boxes, subsets_from_instances

    if args.citypersons:
        if len(args.class_name) > 1:
            raise ValueError(f'--citypersons takes one --class-name, got {" ".join(args.class_name)}')
        subsets = subsets_from_boxes(args.citypersons, args.class_name[0], args.tolerance)
    else:
        loader = f'{args.split}_dataloader'
        cfg = common.load_config(args, loader)
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        dataset = DATASETS.build({**cfg[loader].dataset, 'pipeline': []})
        subsets_of = subsets_from_instances if has_boxes(dataset) else subsets_from_labels
        subsets = subsets_of(dataset, args.class_name, args.tolerance)
    for half, names in subsets.items():
        path = Path(args.out_dir, f'{args.split}-{half}.txt')
        write_list(names, path)
        common.say(f'{len(names)} images with {" ".join(args.class_name)} only {half}: {path}')
