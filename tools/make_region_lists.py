"""Write val-left and val-right: the images that have all of a class in one half, as lists for mmseg's `ann_file`.

Examples:
    python tools/make_region_lists.py configs/deeplabv3_r50_camvid.py --out-dir data/camvid
    python tools/make_region_lists.py --citypersons data/cityscapes/gtBboxCityPersons/val --out-dir data/cityscapes
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from mmposenc.cli import common as command_line

# isort: split
from mmengine.registry import DATASETS, init_default_scope

from mmposenc.host.config_file import Options
from mmposenc.host.patches import prepare_hosts


def main(argv: Sequence[str] | None = None) -> None:
    """Write one list per half (Sec. 4.2.3)."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('config', nargs='?', help='config whose data set holds the label maps')
    source.add_argument(
        '--citypersons', metavar='DIR', help="CityPersons' box files of one split, instead of label maps"
    )
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='val', help='data loader of the config')
    parser.add_argument('--class-name', default='pedestrian', help="default: pedestrian; in Cityscapes' labels: person")
    parser.add_argument(
        '--tolerance', type=float, default=0.0, help='share that may lie in the other half (default: 0)'
    )
    parser.add_argument('--out-dir', required=True, help='folder for SPLIT-left.txt and SPLIT-right.txt')
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE', help='overrides of the config')
    parser.set_defaults(launcher='none', trust_checkpoint=False, work_dir=None)
    args = parser.parse_args(argv)

    prepare_hosts()  # Before the data sets import mmseg, which prints of its insides else.
    from mmposenc.mm.datasets.region_subsets import subsets_from_boxes, subsets_from_labels, write_list

    if args.citypersons:
        subsets = subsets_from_boxes(args.citypersons, args.class_name, args.tolerance)
    else:
        cfg = command_line.load_config(args)
        command_line.require(cfg, f'{args.split}_dataloader')
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        dataset = DATASETS.build({**cfg[f'{args.split}_dataloader'].dataset, 'pipeline': []})
        subsets = subsets_from_labels(dataset, args.class_name, args.tolerance)
    for half, names in subsets.items():
        path = Path(args.out_dir, f'{args.split}-{half}.txt')
        write_list(names, path)
        command_line.say(f'{len(names)} images with {args.class_name} only {half}: {path}')


if __name__ == '__main__':
    command_line.run(main)
