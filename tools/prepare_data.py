"""Downloads and verifies CIFAR-10 or CIFAR-100, or says which file to put where.

Example:
    python tools/prepare_data.py --dataset cifar100
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence

from mmposenc.cli import common as command_line
from mmposenc.mm.datasets.cifar import CIFAR10, CIFAR100

_DATASETS = {'cifar10': CIFAR10, 'cifar100': CIFAR100}


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare one data set, and count what is there (ours)."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--dataset', choices=_DATASETS, required=True)
    parser.add_argument('--data-root', help='default: data/<dataset>')
    parser.add_argument('--no-verify', action='store_true', help='accept a re-packed copy whose md5 differ')
    args = parser.parse_args(argv)
    root = args.data_root or f'data/{args.dataset}'
    for split in ('train', 'test'):
        data = _DATASETS[args.dataset](root, split, verify=not args.no_verify)
        command_line.say(
            f'{args.dataset} {split}: {len(data)} images, {len(data.metainfo["classes"])} classes, in {root}'
        )


if __name__ == '__main__':
    command_line.run(main)
