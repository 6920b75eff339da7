"""Images per second of GAPNet training on a 7x7 grid through the Runner, against canvases made per sample on the CPU.

    python benchmarks/grid_training.py                    # a GPU; --small shows the form on a CPU

One run, one model (Table 1's ResNet-18 and head), one batch size, one precision (bfloat16 autocast), one compiled
backbone:
  ours      32x32 patches travel as whole batches, the device makes the canvases;
  stock     mmpretrain's CIFAR pipeline with RandomFlip, PlaceOnGrid, PackInputs and 2, 8 and 16 workers: the canvases
            travel;
  resident  the same training step on one batch of canvases that lies on the device: the bound.
First it checks that both give the model the same canvases and labels, and counts the bytes of a batch that go to the
device. Images are random: their content costs nothing. The mean colour is of whole numbers, so that a canvas of bytes
is exactly zero after normalisation on either way.
"""

import argparse
import json
from collections.abc import Sequence

import numpy as np
import torch
from augshift_training import images_per_second, measure, resident_images_per_second
from mmcv.transforms import BaseTransform
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, init_default_scope
from mmengine.structures import BaseDataElement
from random_cifar import RandomImages, StockRandomImages
from torch import Tensor
from torch.utils.data import DataLoader

from mmposenc.mm.datasets.in_memory import pass_batch

GRID = 7
MEAN, STD = [129, 124, 112], [68.17, 65.392, 70.418]


@DATASETS.register_module()
class RandomGridImages(RandomImages):
    """The random images as whole batches that name their grid; with `fixed_cells`, the cells too."""

    def __init__(self, num_images: int = 50000, fixed_cells: bool = False) -> None:
        super().__init__(num_images)
        self.fixed_cells = fixed_cells
        self.grid = BaseDataElement(metainfo={'grid_size': GRID, 'task': 'location'})

    def __getitems__(self, indices: Sequence[int]) -> dict:
        batch = super().__getitems__(indices)
        cells = {'cells': batch['indices'] % GRID**2} if self.fixed_cells else {}
        return {**batch, 'grid': self.grid, **cells}


@TRANSFORMS.register_module()
class PlaceOnGrid(BaseTransform):
    """The canvas of one sample on the CPU, as an ordinary pipeline makes it."""

    def __init__(self, random_cell: bool) -> None:
        self.random_cell = random_cell

    def transform(self, results: dict) -> dict:
        patch = results['img']
        height, width = patch.shape[:2]
        cell = np.random.randint(GRID**2) if self.random_cell else results['sample_idx'] % GRID**2
        row, column = divmod(cell, GRID)
        canvas = np.empty((GRID * height, GRID * width, 3), np.uint8)
        canvas[...] = MEAN
        canvas[row * height : (row + 1) * height, column * width : (column + 1) * width] = patch
        return {**results, 'img': canvas, 'img_shape': canvas.shape[:2], 'gt_label': cell}


def pipeline(flip: float, random_cell: bool) -> list[dict]:
    place = dict(type='PlaceOnGrid', random_cell=random_cell)
    return [dict(type='RandomFlip', prob=flip), place, dict(type='PackInputs')]


def model_config(args, train_transforms: Sequence[dict] = ()) -> dict:
    return dict(
        type='ImageClassifier',
        backbone=dict(
            type='mmposenc.PositionResNet',
            depth=18,
            base_channels=args.base_channels,
            stem_channels=args.base_channels,
        ),
        head=dict(type='mmposenc.GAPLogitHead', in_channels=8 * args.base_channels, num_classes=GRID**2),
        data_preprocessor=dict(
            type='mmposenc.BatchPreprocessor', mean=MEAN, std=STD, channels_last=True, train_transforms=train_transforms
        ),
    )


def ours(args) -> tuple[dict, dict]:
    transforms = [dict(type='mmposenc.BatchRandomFlip', prob=0.5), dict(type='mmposenc.BatchPlaceOnGrid')]
    loader = dict(
        num_workers=0,
        dataset=dict(type='RandomGridImages', num_images=args.num_images),
        collate_fn=dict(type='mmposenc.pass_batch'),
    )
    return model_config(args, transforms), loader


def stock(args, workers: int) -> tuple[dict, dict]:
    loader = dict(
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=dict(type='default_collate'),
        dataset=dict(type='StockRandomImages', num_images=args.num_images, pipeline=pipeline(0.5, True)),
    )
    return model_config(args), loader


def check_same_canvases(args) -> dict[str, float]:
    """Both ways, without flips and with the cells of testing: equal canvases and labels. Returns KiB sent per image."""
    init_default_scope('mmpretrain')
    n = 2 * GRID**2 if not args.small else GRID**2
    place = [dict(type='mmposenc.BatchPlaceOnGrid')]
    batches = {
        'ours': next(iter(DataLoader(RandomGridImages(n, fixed_cells=True), n, collate_fn=pass_batch))),
        'stock': default_collate([StockRandomImages(n, pipeline=pipeline(0.0, False))[i] for i in range(n)]),
    }
    results = {}
    for name, batch in batches.items():
        preprocessor = MODELS.build(model_config(args, place if name == 'ours' else ())['data_preprocessor'])
        data = preprocessor(batch, training=True)
        results[name] = data['inputs'], torch.cat([sample.gt_label for sample in data['data_samples']])
    torch.testing.assert_close(results['ours'][0], results['stock'][0], rtol=0, atol=1e-6)
    if not torch.equal(results['ours'][1], results['stock'][1]):
        raise RuntimeError('the two ways give different labels')
    empty = (results['ours'][0] == 0).flatten(1).float().mean(1)
    if not (empty > 1 - 1.01 / GRID**2).all():
        raise RuntimeError('a canvas has something in an empty cell')
    return {
        name: batch['inputs'].nbytes / n / 1024
        for name, batch in batches.items()
        if isinstance(batch['inputs'], Tensor)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch-size', type=int, default=48, help="default: 48, Table 1's")
    parser.add_argument('--iters', type=int, default=200, help='timed iterations of each kind')
    parser.add_argument('--warmup', type=int, default=50)
    parser.add_argument('--workers', type=int, nargs='+', default=[2, 8, 16])
    parser.add_argument('--mode', default='reduce-overhead', help='mode of torch.compile')
    parser.add_argument('--small', action='store_true', help='a tiny network and few iterations, to see the form')
    parser.add_argument('--json', help='also write the figures to this file')
    args = parser.parse_args()
    args.compile_options = {} if args.mode == 'default' else {'mode': args.mode}
    args.base_channels, args.num_images = 64, 50000
    if args.small:
        args.base_channels, args.num_images, args.batch_size, args.iters, args.warmup = 2, 500, 16, 4, 2
        args.workers = args.workers[:1]

    sent = check_same_canvases(args)
    print('both ways give the same canvases and labels; to the device go, per image:')
    for name, kib in sent.items():
        print(f'  {name:20s} {kib:10.1f} KiB')
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    print(f'{device}, {GRID}x{GRID} grid, batch {args.batch_size}, bfloat16, images/s:')
    kinds = {
        'resident': lambda: resident_images_per_second(args, *ours(args)),
        'ours': lambda: images_per_second(args, *ours(args)),
        **{
            f'stock, {workers} workers': lambda workers=workers: images_per_second(args, *stock(args, workers))
            for workers in args.workers
        },
    }
    rates = measure(args, kinds)
    for name, rate in rates.items():
        if name != 'ours':
            print(f'ours / {name}: {rates["ours"] / rate:.2f}')
    if args.json:
        figures = {'device': device, 'batch_size': args.batch_size, 'mode': args.mode}
        with open(args.json, 'w') as file:
            json.dump({**figures, 'kib_per_image': sent, 'images_per_s': rates}, file)


if __name__ == '__main__':
    main()
