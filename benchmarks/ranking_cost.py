"""Cost of ranking the channels by Eq. 2, in plain forwards of the backbone per image, at several batch sizes.

    python benchmarks/ranking_cost.py                                      # a GPU; DeepLabv3-R50-d8 at 1024x2048
    python benchmarks/ranking_cost.py --size 128 256 --batch-sizes 1 2 4   # a CPU will do
    python benchmarks/ranking_cost.py --small                              # the small network of the demo

Two forwards per image are what Eq. 2 asks for. Timed in turns over the same images, which lie in memory:
  backbone  `model.backbone` on normalised batches that lie on the device;
  channels  `mmposenc.channels.collect_sums`, both forwards and the sums, on the same batches;
  loop      `ChannelRankingLoop` in a Runner: data loader, preprocessor, hooks, forwards and sums.
First it checks that the scores of batches, by `channels` and by the loop, equal those of one image at a time, in full
float32, and shows that memory is the same for four times the images. The ratio is the median over the rounds of the
ratios within a round. On a CPU the seconds are the process's own, so that other work on the machine does not count.
What the loop does once at the end, whatever the number of images (the model's hash, the file), is shown beside it.
A batch costs up to 1 ms beside its forwards (hooks, sums, the Runner): where a forward takes 3 ms, that shows.
Weights and images are random.
"""

import argparse
import json
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmposenc.channels.rank import PairedSums, collect_sums
from mmposenc.host.patches import prepare_hosts

CONFIGS = Path(__file__).parents[1] / 'configs'
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
TOLERANCE = 1e-3
"""Of the mean score: a convolution of a batch adds up in another order than that of one image."""


@DATASETS.register_module()
class RepeatedImages(Dataset):
    """Any number of images, of which eight are held: the data set itself does not grow."""

    def __init__(self, num_images: int, size: tuple[int, int]) -> None:
        generator = torch.Generator().manual_seed(0)
        self.num_images = num_images
        self.images = torch.randint(256, (8, 3, *size), dtype=torch.uint8, generator=generator)
        self.images[..., size[1] // 2 :] //= 2  # so that the halves differ

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int) -> dict:
        return dict(inputs=self.images[index % len(self.images)])


class Stopwatch(Hook):
    """Seconds from the start of the loop to the end of its last batch."""

    def before_test_epoch(self, runner: Runner) -> None:
        self.start = now()

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if batch_idx + 1 == len(runner.test_dataloader):
            self.seconds = now() - self.start


def now() -> float:
    if DEVICE == 'cpu':
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def timed(action: Callable[[], object]) -> float:
    start = now()
    action()
    return now() - start


def build_model(config: str) -> nn.Module:
    """The config's network with random weights; batch norms are set so that activations keep their scale."""
    prepare_hosts()
    warnings.filterwarnings('ignore', module='mmseg')  # of arguments that its own configs set
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    norms = [module for module in model.backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    model.backbone.train()
    with torch.no_grad():
        model.backbone(torch.randn(2, 3, 128, 256))
    return model.eval().to(DEVICE)


class Ranking:
    """The three ways to go through the images, at one batch size."""

    def __init__(self, model: nn.Module, layer: str, images: int, size: tuple[int, int], batch_size: int) -> None:
        self.model, self.layer = model, layer
        self.dataset = RepeatedImages(images, size)
        self.stopwatch = Stopwatch()
        self.folder = tempfile.TemporaryDirectory()
        loader = dict(
            batch_size=batch_size,
            num_workers=0,
            pin_memory=DEVICE == 'cuda',
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=self.dataset,
        )
        self.runner = Runner(
            model=model,
            work_dir=self.folder.name,
            test_dataloader=loader,
            test_cfg=dict(type='mmposenc.ChannelRankingLoop', layer=layer),
            test_evaluator=[],
            custom_hooks=[self.stopwatch],
            default_scope='mmseg',
            experiment_name=f'bench{time.time_ns()}',
            log_level='ERROR',
        )
        with torch.no_grad():
            self.batches = [self.normalised(start, batch_size) for start in range(0, images, batch_size)]

    def normalised(self, start: int, batch_size: int) -> Tensor:
        stop = min(start + batch_size, len(self.dataset))
        images = [self.dataset[index]['inputs'] for index in range(start, stop)]
        return self.model.data_preprocessor(dict(inputs=images), False)['inputs']

    @torch.no_grad()
    def backbone(self) -> None:
        for images in self.batches:
            self.model.backbone(images)

    def channels(self) -> PairedSums:
        (sums,) = collect_sums(self.model, self.batches, self.layer, forward=self.forward).values()
        return sums

    def forward(self, images: Tensor) -> object:
        return self.model(images, mode='tensor')

    def loop(self) -> Tensor:
        self.runner.test()
        (ranking,) = self.runner.test_loop.rankings.values()
        return torch.tensor(ranking.scores, dtype=torch.float64)


def check_same_result(args: argparse.Namespace, model: nn.Module) -> None:
    """Scores of every batch size against those of one image at a time."""
    torch.backends.cudnn.allow_tf32 = False
    alone = Ranking(model, args.layer, args.images, args.size, 1).channels().scores()
    for batch_size in args.batch_sizes:
        ranking = Ranking(model, args.layer, args.images, args.size, batch_size)
        scores = torch.stack([ranking.channels().scores(), ranking.loop()])
        difference = float((scores - alone).abs().max() / alone.mean())
        if not difference < TOLERANCE:
            raise SystemExit(f'scores at batch size {batch_size} differ by {difference:.1e} of their mean')
        print(f'  batch size {batch_size}: scores equal those of single images to {difference:.1e} of their mean')
    torch.backends.cudnn.allow_tf32 = True


def show_memory(args: argparse.Namespace, model: nn.Module) -> dict[int, dict]:
    """The loop's peak memory and the bytes of the sums, for the images and for four times as many."""
    shown = {}
    for images in (args.images, 4 * args.images):
        ranking = Ranking(model, args.layer, images, args.size, args.batch_sizes[0])
        ranking.batches = ranking.batches[:1]
        if DEVICE == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        ranking.loop()
        if DEVICE == 'cuda':
            peak = torch.cuda.max_memory_allocated() / 2**20
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        state = ranking.channels().state
        shown[images] = dict(sums_bytes=state.numel() * state.element_size(), peak_mib=round(peak, 1))
        where = 'device' if DEVICE == 'cuda' else 'process'
        print(f'  {images} images: sums {shown[images]["sums_bytes"]} bytes, peak of the {where} {peak:.1f} MiB')
    return shown


def measure(args: argparse.Namespace, model: nn.Module, batch_size: int) -> dict:
    """Seconds per image and ratios at one batch size."""
    ranking = Ranking(model, args.layer, args.images, args.size, batch_size)
    ranking.backbone()  # warms up
    rounds: dict[str, list[float]] = {name: [] for name in ('backbone', 'channels', 'loop', 'end')}
    for _ in range(args.rounds):
        rounds['backbone'].append(timed(ranking.backbone))
        rounds['channels'].append(timed(ranking.channels))
        total = timed(ranking.loop)
        rounds['loop'].append(ranking.stopwatch.seconds)
        rounds['end'].append(total - ranking.stopwatch.seconds)
    figures = {f'{name}_ms_per_image': 1000 * median(rounds[name]) / args.images for name in ('backbone', 'loop')}
    figures['once_ms'] = 1000 * median(rounds['end'])
    text = []
    for name in ('channels', 'loop'):
        ratios = [spent / plain for spent, plain in zip(rounds[name], rounds['backbone'], strict=True)]
        figures[f'{name}_ratio'] = median(ratios)
        text.append(f'{name} / backbone {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})')
    print(
        f'  batch size {batch_size}: {", ".join(text)}; backbone {figures["backbone_ms_per_image"]:.1f} ms per image, '
        f'the loop once {figures["once_ms"]:.0f} ms'
    )
    return figures


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default=str(CONFIGS / 'deeplabv3_r50_cityscapes.py'), help='any mmseg config')
    parser.add_argument('--layer', default='backbone[-1]')
    parser.add_argument('--size', type=int, nargs=2, default=[1024, 2048], metavar=('H', 'W'))
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 2, 8])
    parser.add_argument('--images', type=int, default=8, help='in each round')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--small', action='store_true', help="the demo's network at 64x128 px")
    parser.add_argument('--json', help='also write the figures to this file')
    args = parser.parse_args()
    if args.small:
        args.config, args.size = str(CONFIGS / 'deeplabv3_r18_digitscenes.py'), [64, 128]

    model = build_model(args.config)
    device = torch.cuda.get_device_name() if DEVICE == 'cuda' else f'CPU, {torch.get_num_threads()} threads'
    print(f'{device}, {Path(args.config).stem}, {args.layer}, {args.size[0]}x{args.size[1]} px, {args.images} images')
    check_same_result(args, model)
    memory = show_memory(args, model)
    figures = {batch_size: measure(args, model, batch_size) for batch_size in args.batch_sizes}
    if args.json:
        with open(args.json, 'w') as file:
            json.dump({'device': device, 'size': args.size, 'memory': memory, 'batch_sizes': figures}, file)


if __name__ == '__main__':
    main()
