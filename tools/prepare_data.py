"""Downloads and verifies CIFAR-10 or CIFAR-100, or says which file to put where.

Example:
    python tools/prepare_data.py --dataset cifar100
"""

import argparse
import sys

from mmposenc.datasets import CIFAR10, CIFAR100

_DATASETS = {'cifar10': CIFAR10, 'cifar100': CIFAR100}


def main() -> int:
    """Prepares one data set (ours); 0 if every file is there and right, otherwise 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dataset', choices=_DATASETS, required=True)
    parser.add_argument('--data-root', help='default: data/<dataset>')
    parser.add_argument('--no-verify', action='store_true', help='accept a re-packed copy whose md5 differ')
    args = parser.parse_args()
    root = args.data_root or f'data/{args.dataset}'
    try:
        for split in ('train', 'test'):
            data = _DATASETS[args.dataset](root, split, verify=not args.no_verify)
            print(f'{args.dataset} {split}: {len(data)} images, {len(data.metainfo["classes"])} classes, in {root}')
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
