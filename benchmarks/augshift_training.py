"""Images per second of two-view AugShift training through the Runner, against mmpretrain's stock per-sample pipeline.

    python benchmarks/augshift_training.py                    # a GPU; --small shows the form on a CPU

One run, one model (CIFAR ResNet-18, 3x3 stem), one batch size, one precision (bfloat16 autocast), one compilation:
  ours      whole batches from memory, flip and two views on the device;
  stock     mmpretrain's CIFAR100 with RandomFlip, MultiView(RandomCrop), PackInputs and 2, 8 and 16 workers;
  resident  the same training step on one batch that lies on the device: the bound;
  runner    the Runner and the data loader alone, around a step that does nothing.
First it checks that both data paths give the model the same two views and the same loss. Images are random: their
content costs nothing. An image is two views.
"""

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable

import torch
from mmengine.dataset import default_collate
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from random_cifar import PREPROCESSOR, STOCK_TWO_VIEWS, TWO_VIEWS, RandomImages, StockRandomImages


class Stopwatch(Hook):
    """Seconds per iteration after a warm-up, the device's work included."""

    def __init__(self, warmup: int, iters: int) -> None:
        self.warmup, self.iters = warmup, iters

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if runner.iter == self.warmup:
            settle()
        if runner.iter in (self.warmup, self.warmup + self.iters):
            wait()
            self.start, self.seconds = time.perf_counter(), time.perf_counter() - getattr(self, 'start', 0)
        if runner.iter == self.warmup + self.iters:
            self.per_iter = self.seconds / self.iters
            runner.train_loop.stop_training = True
            runner.train_loop._max_iters = runner.iter


def settle() -> None:
    """Collect garbage now: with the hosts imported, a full collection costs 0.6 s, wherever it happens to fall."""
    gc.collect()
    gc.freeze()


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def model_config(args, **preprocessor) -> dict:
    return dict(
        type='mmposenc.AugShiftClassifier',
        backbone=dict(
            type='ResNet_CIFAR', depth=18, base_channels=args.base_channels, stem_channels=args.base_channels
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=100, in_channels=8 * args.base_channels),
        data_preprocessor=dict(**PREPROCESSOR, **preprocessor),
    )


def ours(args) -> tuple[dict, dict]:
    model = model_config(args, train_transforms=TWO_VIEWS)
    loader = dict(
        num_workers=0,
        dataset=dict(type='RandomImages', num_images=args.num_images),
        collate_fn=dict(type='mmposenc.pass_batch'),
    )
    return model, loader


def stock(args, workers: int) -> tuple[dict, dict]:
    loader = dict(
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=dict(type='default_collate'),
        dataset=dict(type='StockRandomImages', num_images=args.num_images, pipeline=STOCK_TWO_VIEWS),
    )
    return model_config(args), loader


def make_runner(args, model: dict, loader: dict, folder: str, stopwatch: Hook) -> Runner:
    loader = dict(
        batch_size=args.batch_size, drop_last=True, pin_memory=True, sampler=dict(type='InfiniteSampler'), **loader
    )
    compile_hook = dict(type='mmposenc.CompileBackboneHook', options=args.compile_options)
    return Runner(
        model=model,
        work_dir=folder,
        train_dataloader=loader,
        train_cfg=dict(by_epoch=False, max_iters=args.warmup + args.iters + 1, val_interval=10**9),
        optim_wrapper=dict(
            type='mmposenc.AutocastOptimWrapper',
            optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True),
        ),
        param_scheduler=dict(type='CosineAnnealingLR', by_epoch=False, T_max=10**6),
        default_hooks=dict(
            runtime_info=dict(type='mmposenc.DeferredRuntimeInfoHook'),
            checkpoint=None,
            logger=dict(type='LoggerHook', interval=50),
        ),
        custom_hooks=[compile_hook, stopwatch],
        env_cfg=dict(cudnn_benchmark=True),
        default_scope='mmpretrain',
        experiment_name=f'bench{time.time_ns()}',
        log_level='ERROR',
    )


def images_per_second(args, model: dict, loader: dict, idle: bool = False) -> float:
    stopwatch = Stopwatch(args.warmup, args.iters)
    with tempfile.TemporaryDirectory() as folder:
        runner = make_runner(args, model, loader, folder, stopwatch)
        if idle:
            losses = {name: torch.zeros(()) for name in ('loss', 'loss_view1', 'loss_view2', 'loss_mse')}
            runner.model.train_step = lambda data, optim_wrapper: losses
        runner.train()
        del runner  # and the loader's workers, before the next kind starts
        gc.unfreeze()
        gc.collect()
    return args.batch_size / stopwatch.per_iter


def resident_images_per_second(args, model: dict, loader: dict) -> float:
    """The training step on one batch on the device, without data loader, preprocessor, hooks and log."""
    with tempfile.TemporaryDirectory() as folder:
        runner = make_runner(args, model, loader, folder, Stopwatch(args.warmup, args.iters))
        model = runner.model.train()
        optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        hook = next(h for h in runner.hooks if type(h).__name__ == 'CompileBackboneHook')
        hook.before_train(runner)
        batch = DATASETS.build(loader['dataset']).__getitems__(list(range(args.batch_size)))
        batch = model.data_preprocessor(batch, training=True)
        for i in range(args.warmup + args.iters):
            if i == args.warmup:
                settle()
                wait()
                start = time.perf_counter()
            with optim_wrapper.optim_context(model):
                losses = model(**batch, mode='loss')
            optim_wrapper.update_params(model.parse_losses(losses)[0])
        wait()
        return args.batch_size * args.iters / (time.perf_counter() - start)


def check_same_result(args) -> float:
    """Both data paths, without randomness: equal inputs and equal loss. Returns the largest difference of the loss."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(model_config(args, train_transforms=[dict(type='mmposenc.BatchTwoViews', transforms=[])]))
    model.eval()  # no running statistics: the same network twice
    n = 16
    whole = model.data_preprocessor(RandomImages(n).__getitems__(list(range(n))), training=True)
    pipeline = [
        dict(type='MultiView', num_views=2, transforms=[[dict(type='RandomFlip', prob=0.0)]]),
        dict(type='PackInputs'),
    ]
    samples = StockRandomImages(n, pipeline=pipeline)
    preprocessor = MODELS.build(PREPROCESSOR)  # views come from the pipeline
    single = preprocessor(default_collate([samples[i] for i in range(n)]), training=True)
    for a, b in zip(whole['inputs'], single['inputs'], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    with torch.no_grad():
        first, second = (model(**batch, mode='loss') for batch in (whole, single))
    difference = max(float((first[k] - second[k]).abs()) for k in first)
    if difference > 1e-5:
        raise RuntimeError(f'the two data paths give different losses: {difference}')
    return difference


def measure(args, kinds: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Images per second of each kind, printed as it is known."""
    rates = {}
    for name, kind in kinds.items():
        rates[name] = kind()
        print(
            f'  {name:20s} {rates[name]:10,.0f}   {1000 * args.batch_size / rates[name]:8.3f} ms per iteration',
            flush=True,
        )
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch-size', type=int, default=512)
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
        args.base_channels, args.num_images, args.batch_size, args.iters, args.warmup = 4, 2000, 64, 10, 3

    print(f'both data paths give the same views; largest difference of a loss {check_same_result(args):.1e}')
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    print(f'{device}, batch {args.batch_size}, bfloat16, images/s (an image is two views):')
    kinds = {
        'resident': lambda: resident_images_per_second(args, *ours(args)),
        'ours': lambda: images_per_second(args, *ours(args)),
        'runner alone': lambda: images_per_second(args, *ours(args), idle=True),
        **{
            f'stock, {workers} workers': lambda workers=workers: images_per_second(args, *stock(args, workers))
            for workers in args.workers
        },
    }
    rates = measure(args, kinds)
    best = max(rates[f'stock, {workers} workers'] for workers in args.workers)
    first = rates[f'stock, {args.workers[0]} workers']
    print(f'ours / stock with {args.workers[0]} workers: {rates["ours"] / first:.2f}')
    print(f'ours / best stock: {rates["ours"] / best:.2f}')
    print(f'ours / resident step: {rates["ours"] / rates["resident"]:.3f}')
    if args.json:
        with open(args.json, 'w') as file:
            json.dump({'device': device, 'batch_size': args.batch_size, 'mode': args.mode, 'images_per_s': rates}, file)


if __name__ == '__main__':
    main()
