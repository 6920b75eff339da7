"""Samples per second of the data side alone on one CPU thread: loading, flip, two shifted views and normalisation.

    python benchmarks/data_side_cpu.py

Ours (whole batches) against mmpretrain's stock pipeline (RandomFlip, MultiView of RandomCrop, PackInputs), both through
a data loader without workers and the preprocessor, without a model. `benchmarks/augshift_training.py` checks that both
give the same views. Also shown: the bytes that a split takes, once, however many workers a loader has.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from mmengine.dataset import default_collate
from mmengine.registry import MODELS, init_default_scope
from random_cifar import PREPROCESSOR, STOCK_TWO_VIEWS, TWO_VIEWS, RandomImages, StockRandomImages
from torch.utils.data import DataLoader

from mmposenc.mm.datasets.in_memory import pass_batch

BATCH, BATCHES, ROUNDS = 128, 40, 5


def samples_per_second(loader: DataLoader, preprocessor: torch.nn.Module) -> float:
    batches = iter(loader)
    start = None
    for i in range(BATCHES):
        views = preprocessor(next(batches), training=True)['inputs']
        if views[0].shape != (BATCH, 3, 32, 32) or len(views) != 2:
            raise RuntimeError(f'not two views of {BATCH} images: {[view.shape for view in views]}')
        if i == 0:  # the first batch warms up
            start = time.perf_counter()
    return BATCH * (BATCHES - 1) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', help='also write the figures to this file')
    args = parser.parse_args()
    torch.set_num_threads(1)
    init_default_scope('mmpretrain')
    whole, stock = RandomImages(), StockRandomImages(pipeline=STOCK_TWO_VIEWS)
    kinds = {
        'ours': (DataLoader(whole, BATCH, shuffle=True, collate_fn=pass_batch), dict(train_transforms=TWO_VIEWS)),
        'stock': (DataLoader(stock, BATCH, shuffle=True, collate_fn=default_collate), {}),
    }
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):  # in turns, so that a change of the machine's speed meets both
        for name, (loader, options) in kinds.items():
            rates[name].append(samples_per_second(loader, MODELS.build({**PREPROCESSOR, **options})))
    medians = {name: sorted(values)[ROUNDS // 2] for name, values in rates.items()}
    for name, rate in medians.items():
        print(f'{name:6s} {rate:10,.0f} samples/s')
    ratio = medians['ours'] / medians['stock']
    print(f'ours / stock: {ratio:.1f}')
    print(f'a training split is held once: {whole.images.nbytes / 2**20:.0f} MiB')
    if args.json:
        Path(args.json).write_text(json.dumps({'samples_per_second': medians, 'ratio': ratio}))


if __name__ == '__main__':
    main()
