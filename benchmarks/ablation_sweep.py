"""How much faster a sweep is than the same variants one by one, each with a hook and a forward of its own.

84 variants (4 rankings x 21 values of N) in 4 regions, DeepLabv3-R50-d8 on one image of 1024x2048, at the pooling
branch and at the end of the backbone. Weights, image and labels are random and already in memory: nothing is decoded.
The plain loop is timed on some of the variants and scaled to all of them; that the counts of these variants agree is
checked first, in float64. In float32 a network of random weights has ties that two orders of summation break
differently: their number is shown. The limit is what the parts cost that no variant can do without.

    python benchmarks/ablation_sweep.py            # a GPU
    python benchmarks/ablation_sweep.py --small    # 256x512, a CPU will do
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from torch import nn
from torch.nn import functional

from mmposenc.channels.ablation import ablate_channels
from mmposenc.channels.aspp_parts import record_aspp
from mmposenc.channels.channel_choice import random_ranking
from mmposenc.channels.sweep import SweepPlan
from mmposenc.mm.sweep.levels import POOLED_LAYER, choose_level
from mmposenc.mm.sweep.segmentation import SegmentationSweep
from mmposenc.regions import confusion_margins, count_strips

CLASSES = [f'class {number}' for number in range(19)]


def build_model() -> EncoderDecoder:
    """DeepLabv3-R50-d8 of mmseg's Cityscapes config, with random weights that keep activations at unit scale."""
    register_all_modules()
    torch.manual_seed(0)
    norm = dict(type='BN')
    model = EncoderDecoder(
        backbone=dict(
            type='ResNetV1c',
            depth=50,
            strides=(1, 2, 1, 1),
            dilations=(1, 1, 2, 4),
            norm_cfg=norm,
            contract_dilation=True,
        ),
        decode_head=dict(
            type='ASPPHead', in_channels=2048, channels=512, dilations=(1, 12, 24, 36), num_classes=19, norm_cfg=norm
        ),
        test_cfg=ConfigDict(mode='whole'),
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0, 0.3)
            module.momentum = 1.0
    nn.init.normal_(model.decode_head.conv_seg.weight)
    with torch.no_grad():
        model.train()(torch.randn(2, 3, 128, 256))
    return model.eval()


def timed(action: Callable[[], Any], device: torch.device, repetitions: int) -> float:
    """Median seconds of an action; on a GPU the first one does not count."""
    seconds = []
    for _ in range(repetitions + (device.type == 'cuda')):
        if device.type == 'cuda':
            torch.cuda.synchronize()
        start = time.perf_counter()
        action()
        if device.type == 'cuda':
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[-repetitions:])[repetitions // 2]


@torch.no_grad()
def plain_counts(sweep: SegmentationSweep, layer: str, data: dict, variants: list) -> torch.Tensor:
    """The plain loop: a hook, a forward and a count for each variant."""
    labels = data['data_samples'][0].gt_sem_seg.data[0]
    counts = []
    for order, start, stop in variants:
        with ablate_channels(sweep.model, layer, order[start:stop]):
            (sample,) = sweep.model(data['inputs'], data['data_samples'], mode='predict')
        counts.append(count_strips(labels, sample.pred_sem_seg.data[0], len(CLASSES), sweep.strips))
    return confusion_margins(torch.stack(counts)).cpu()


@torch.no_grad()
def limit(sweep: SegmentationSweep, layer: str, data: dict, device: torch.device, repetitions: int) -> float:
    """Seconds for the parts that no sweep can do without: one forward, and of each run what is its own."""
    model, plan, head = sweep.model, sweep.plan, sweep.model.decode_head
    (sample,) = data['data_samples']
    parts: dict[str, float] = {}

    def forward() -> None:
        model(data['inputs'], data['data_samples'], mode='tensor')

    parts['forward'] = timed(forward, device, repetitions)
    with record_aspp(head) as record:
        forward()
    features = record.bottleneck[0].relu()
    logits = head.cls_seg(features)
    labels, prediction = sample.gt_sem_seg.data[0], sample.pred_sem_seg.data[0].to(torch.uint8)
    own = {
        'activation': lambda: functional.relu(features + 1),
        'classifier': lambda: head.cls_seg(features),
        'upsampling and argmax': lambda: head.predict_by_feat(logits, [sample.metainfo]).max(1).indices,
        'count': lambda: count_strips(labels, prediction, len(CLASSES), sweep.strips),
    }
    runs = plan.num_runs
    if layer != POOLED_LAYER:
        branches = torch.cat(record.branches, dim=1)
        own['bottleneck'] = lambda: functional.conv2d(
            branches, head.bottleneck.conv.weight[:, -branches.shape[1] :], padding=1
        )
        parts['branches, once for each ranking'] = len(plan.groups) * timed(
            lambda: head.aspp_modules(record.features[0]), device, repetitions
        )
    for name, action in own.items():
        parts[f'{name}, each run'] = runs * timed(action, device, repetitions)
    for name, seconds in parts.items():
        print(f'    {name}: {1000 * seconds:.1f} ms in all')
    return sum(parts.values())


def measure(sweep: SegmentationSweep, layer: str, data: dict, repetitions: int) -> None:
    """Print the ratios at one layer, after checking that the counts agree."""
    plan, device = sweep.plan, data['inputs'].device
    pixels = data['inputs'].shape[-2] * data['inputs'].shape[-1]
    chosen = plan.variants[20 :: len(plan.variants) // (3 if device.type == 'cpu' else 6)]
    orders = {name: ranking.order for name, ranking in plan.rankings.items()}
    variants = [(orders[variant.ranking], variant.start, variant.stop) for variant in chosen]
    print(f'{layer}: {len(plan.variants)} variants in {plan.num_runs} runs, level {sweep.levels[layer].level}')

    torch.backends.cudnn.allow_tf32 = False
    for dtype in (torch.float64, torch.float32):
        sweep.model.to(dtype)
        same = {**data, 'inputs': data['inputs'].to(dtype)}
        counts = sweep.count(same, [0])[0][[variant.run for variant in chosen]]
        # Each pixel that moves from one class to another changes two entries of `predicted`.
        moved = (plain_counts(sweep, layer, same, variants) - counts)[:, :, 1].abs().sum((1, 2)) / 2
        print(f'  pixels that differ, {dtype}: at most {int(moved.max())} of {pixels}')
        if dtype == torch.float64 and moved.any():
            raise SystemExit('the sweep does not agree with the plain loop')
    for tf32 in (False, True) if device.type == 'cuda' else (False,):
        torch.backends.cudnn.allow_tf32 = tf32
        if device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        fast = timed(lambda: sweep.count(data, [0]), device, repetitions)
        peak = f', peak {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB' if device.type == 'cuda' else ''
        slow = timed(lambda: plain_counts(sweep, layer, data, variants), device, repetitions)
        slow *= len(plan.variants) / len(variants)
        print(f'  {"TF32" if tf32 else "float32"}: sweep {fast:.3f} s{peak}')
        print(f'    plain {slow:.2f} s (scaled from {len(variants)} of {len(plan.variants)} variants)')
        best = limit(sweep, layer, data, device, repetitions)
        print(f'    ratio {slow / fast:.1f}, limit of the parts {slow / best:.1f}, reached {100 * best / fast:.0f}%')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--small', action='store_true', help='256x512 px and one repetition')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--memory-budget', type=float, default=1024, metavar='MIB')
    parser.add_argument('--layer', nargs='+', default=[POOLED_LAYER, 'backbone[-1]'])
    args = parser.parse_args()
    height, width = (256, 512) if args.small else (1024, 2048)
    device = torch.device(args.device)
    model = build_model().to(device)
    labels = torch.randint(19, (1, height // 32, width // 32), device=device).repeat_interleave(32, 1)
    meta = dict(ori_shape=(height, width), img_shape=(height, width), pad_shape=(height, width))
    sample = SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels.repeat_interleave(32, 2)))
    data = dict(inputs=torch.randn(1, 3, height, width, device=device), data_samples=[sample])
    print(f'{device}, torch {torch.__version__}, {torch.get_num_threads()} threads, {height}x{width} px')
    for layer in args.layer:
        rankings = {f'ranking {seed}': random_ranking(2048, seed, layer) for seed in range(4)}
        plan = SweepPlan(rankings, [layer], range(0, 2001, 100))
        levels = {layer: choose_level(model, layer)}
        sweep = SegmentationSweep(model, plan, levels, CLASSES, memory_budget=args.memory_budget)
        measure(sweep, layer, data, 1 if args.small else 3)


if __name__ == '__main__':
    main()
