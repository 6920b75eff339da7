"""Download and verify CIFAR-10 or CIFAR-100, or say which file to put where.

Examples:
    mmposenc prepare-data --dataset cifar100
    mmposenc prepare-data --dataset cifar10 --data-root /data/cifar10 --no-verify
"""

from argparse import ArgumentParser, Namespace

from mmposenc.cli import common


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument('--dataset', choices=['cifar10', 'cifar100'], required=True)
    parser.add_argument('--data-root', help='default: data/<dataset>')
    parser.add_argument('--no-verify', action='store_true', help='accept a re-packed copy whose md5 sums differ')


def run(args: Namespace) -> None:
    """Prepare one data set, and count what is there."""
    from mmposenc.mm.datasets import cifar

    kind = {'cifar10': cifar.CIFAR10, 'cifar100': cifar.CIFAR100}[args.dataset]
    root = args.data_root or f'data/{args.dataset}'
    for split in ('train', 'test'):
        data = kind(root, split, verify=not args.no_verify)
        common.say(f'{args.dataset} {split}: {len(data)} images, {len(data.metainfo["classes"])} classes, in {root}')
