"""How much faster a sweep is than the same variants one by one, each with a hook and a forward of its own.

    python benchmarks/ablation_sweep.py            # a GPU
    python benchmarks/ablation_sweep.py --small    # small images, a CPU will do

First plain networks of torchvision: what comes before the layer runs once per batch, and behind a linear classifier
every variant is a matrix product. Then DeepLabv3-R50-d8 on one image of 1024x2048, at the pooled branch and at the end
of the backbone: 84 variants (4 rankings x 21 values of N) in 4 regions, and what one more random order costs.

Weights, images and labels are random and already in memory. The plain loop is timed on some of the variants and scaled
to all of them; that these variants agree is checked first, in float64 where there is a head to take apart. In float32 a
network of random weights has ties that two orders of summation break differently: their number is shown. The limit is
what the parts cost that no variant can do without.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from mmposenc.channels import SweepPlan, ablate_channels
from mmposenc.channels.variants import VariantForwards
from mmposenc.ranking import Ranking

CLASSES = [f'class {number}' for number in range(19)]
POOLED_LAYER = 'decode_head.image_pool.0'
PLAIN = (
    ('resnet50', 'layer3', 1024),
    ('resnet50', 'layer4', 2048),
    ('vit_b_16', 'encoder.layers.encoder_layer_10', 768),
)


def some_ranking(channels: int, seed: int, layer: str) -> Ranking:
    scores = torch.rand(channels, generator=torch.Generator().manual_seed(seed)).tolist()
    return Ranking(layer=layer, statistic='abs', pair='flip_image', scores=scores, num_images=1)


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
def measure_plain(name: str, layer: str, channels: int, size: int, device: torch.device, repetitions: int) -> dict:
    """Seconds and ratio for a network of torchvision, after checking that the scores agree."""
    torch.manual_seed(0)
    options = dict(image_size=size) if name.startswith('vit') else {}
    model = getattr(torchvision.models, name)(**options)
    images = torch.randn(8, 3, size, size, device=device)
    for module in model.modules():  # Activations keep their scale, and scores depend on the image.
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, module.in_features**-0.5)
    model.to(device).train()(images)
    model.eval()
    plan = SweepPlan({'one': some_ranking(channels, 0, layer)}, None, range(0, channels + 1, channels // 16), 0, 3)

    def forward(copies: int) -> Tensor:
        return model(images.repeat(copies, 1, 1, 1))

    said: list[str] = []
    variants = VariantForwards(model, layer, channels, say=said.append)
    found = dict(variants.run(plan.orders, forward))
    runs = [(order.order, order.slices[place], order.runs[place]) for order in plan.orders for place in (2, 8)]

    def plain() -> dict[int, Tensor]:
        outputs = {}
        for order, (start, stop), run in runs:
            with ablate_channels(model, layer, order[start:stop]):
                outputs[run] = forward(1)
        return outputs

    for run, expected in plain().items():
        if (found[run] - expected).abs().max() > (2e-2 if device.type == 'cuda' else 1e-4) * expected.abs().max():
            raise SystemExit(f'{name} at {layer}: the sweep does not agree with the plain loop')
    fast = timed(lambda: list(variants.run(plan.orders, forward)), device, repetitions)
    slow = timed(plain, device, repetitions) * (plan.num_runs - 1) / len(runs)
    print(f'{name} at {layer}, 8 images of {size} px, {plan.num_runs - 1} variants: ratio {slow / fast:.1f}')
    print(f'  {said[0].partition(": ")[2]}; sweep {fast:.2f} s, plain loop {slow:.2f} s')
    return dict(sweep=fast, plain=slow, ratio=slow / fast)


def build_model() -> Any:
    """DeepLabv3-R50-d8 of mmseg's Cityscapes config, with random weights that keep activations at unit scale."""
    from mmengine.config import ConfigDict
    from mmseg.models import EncoderDecoder
    from mmseg.utils import register_all_modules

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


def sweep_of(model: Any, layer: str, num_random: int) -> Any:
    from mmposenc.mm.loops.sweep_counts import SegmentationCounts
    from mmposenc.regions import MeanIoU

    rankings = {f'ranking {seed}': some_ranking(2048, seed, layer) for seed in range(4)}
    plan = SweepPlan(rankings, [layer], range(0, 2001, 100), num_random=num_random)
    return SegmentationCounts(model, plan, MeanIoU(CLASSES), say=lambda line: None)


@torch.no_grad()
def plain_counts(sweep: Any, layer: str, data: dict, variants: list) -> Tensor:
    """The plain loop: a hook, a forward and a count for each variant."""
    from mmposenc.regions import confusion_margins, count_strips

    labels = data['data_samples'][0].gt_sem_seg.data[0]
    counts = []
    for order, start, stop in variants:
        with ablate_channels(sweep.model, layer, order[start:stop]):
            (sample,) = sweep.model(data['inputs'], data['data_samples'], mode='predict')
        counts.append(count_strips(labels, sample.pred_sem_seg.data[0], len(CLASSES), sweep.metric.strips))
    return confusion_margins(torch.stack(counts)).cpu()


@torch.no_grad()
def limit(sweep: Any, layer: str, data: dict, device: torch.device, repetitions: int) -> float:
    """Seconds for the parts that no sweep can do without: one forward, and of each run what is its own."""
    from mmposenc.channels.shared_heads import recorded
    from mmposenc.regions import count_strips

    model, plan, head = sweep.model, sweep.plan, sweep.model.decode_head
    (sample,) = data['data_samples']
    parts: dict[str, float] = {}

    def forward() -> None:
        model(data['inputs'], data['data_samples'], mode='tensor')

    parts['forward'] = timed(forward, device, repetitions)
    convs = [block.conv for block in head.aspp_modules]
    outputs = {'bottleneck': head.bottleneck.conv, **{f'branch {i}': conv for i, conv in enumerate(convs)}}
    with recorded(outputs, {'joined': convs[0]}) as seen:
        forward()
    features = seen['bottleneck'].relu()
    logits = head.cls_seg(features)
    labels, prediction = sample.gt_sem_seg.data[0], sample.pred_sem_seg.data[0].to(torch.uint8)
    own = {
        'activation': lambda: (features + 1).relu(),
        'classifier': lambda: head.cls_seg(features),
        'upsampling and argmax': lambda: head.predict_by_feat(logits, [sample.metainfo]).max(1).indices,
        'count': lambda: count_strips(labels, prediction, len(CLASSES), sweep.metric.strips),
    }
    if layer != POOLED_LAYER:
        branches = torch.cat([seen[f'branch {i}'] for i in range(len(convs))], dim=1)
        weight = head.bottleneck.conv.weight[:, -branches.shape[1] :]
        own['bottleneck'] = lambda: nn.functional.conv2d(branches, weight, padding=1)
        parts['branches, once for each ranking'] = len(plan.orders) * timed(
            lambda: head.aspp_modules(seen['joined']), device, repetitions
        )
    for name, action in own.items():
        parts[f'{name}, each run'] = plan.num_runs * timed(action, device, repetitions)
    for name, seconds in parts.items():
        print(f'    {name}: {1000 * seconds:.1f} ms in all')
    return sum(parts.values())


def measure(model: Any, layer: str, data: dict, repetitions: int) -> dict:
    """Seconds and ratios at one layer by precision, after checking that the counts agree."""
    sweep = sweep_of(model, layer, 0)
    plan, device = sweep.plan, data['inputs'].device
    pixels = data['inputs'].shape[-2] * data['inputs'].shape[-1]
    chosen = plan.variants[20 :: len(plan.variants) // (3 if device.type == 'cpu' else 6)]
    variants = [(plan.rankings[variant.ranking].order, variant.start, variant.stop) for variant in chosen]

    torch.backends.cudnn.allow_tf32 = False
    for dtype in (torch.float64, torch.float32):
        model.to(dtype)
        sweep = sweep_of(model, layer, 0)
        same = {**data, 'inputs': data['inputs'].to(dtype)}
        counts = sweep.count(same, [0])[0][[variant.run for variant in chosen]]
        # Each pixel that moves from one class to another changes two entries of `predicted`.
        moved = (plain_counts(sweep, layer, same, variants) - counts)[:, :, 1].abs().sum((1, 2)) / 2
        print(f'  pixels that differ, {dtype}: at most {int(moved.max())} of {pixels}')
        if dtype == torch.float64 and moved.any():
            raise SystemExit('the sweep does not agree with the plain loop')
    print(f'{layer}: {len(plan.variants)} variants in {plan.num_runs} runs, level {sweep.level(layer)}')
    more = sweep_of(model, layer, 4)
    more.count(data, [0])
    figures = {}
    for tf32 in (False, True) if device.type == 'cuda' else (False,):
        torch.backends.cudnn.allow_tf32 = tf32
        if device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        fast = timed(lambda: sweep.count(data, [0]), device, repetitions)
        peak = f', peak {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB' if device.type == 'cuda' else ''
        slow = timed(lambda: plain_counts(sweep, layer, data, variants), device, repetitions)
        slow *= len(plan.variants) / len(variants)
        precision = 'TF32' if tf32 else 'float32'
        print(f'  {precision}: sweep {fast:.3f} s{peak}')
        print(f'    plain {slow:.2f} s (scaled from {len(variants)} of {len(plan.variants)} variants)')
        best = limit(sweep, layer, data, device, repetitions)
        print(f'    ratio {slow / fast:.1f}, limit of the parts {slow / best:.1f}, reached {100 * best / fast:.0f}%')
        order = (timed(lambda: more.count(data, [0]), device, repetitions) - fast) / 4
        print(
            f'    one more random order of {len(plan.num_channels)} N: {1000 * order:.0f} ms, '
            f'39 of them {39 * order:.1f} s'
        )
        figures[precision] = dict(sweep=fast, plain=slow, ratio=slow / fast, limit=slow / best, random_order=order)
    return figures


def measure_deeplab(small: bool, device: torch.device, repetitions: int) -> dict:
    """The figures of DeepLabv3 by layer."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    height, width = (256, 512) if small else (1024, 2048)
    print(f'DeepLabv3-R50-d8, {height}x{width} px')
    model = build_model().to(device)
    labels = torch.randint(19, (1, height // 32, width // 32), device=device).repeat_interleave(32, 1)
    meta = dict(ori_shape=(height, width), img_shape=(height, width), pad_shape=(height, width))
    sample = SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels.repeat_interleave(32, 2)))
    data = dict(inputs=torch.randn(1, 3, height, width, device=device), data_samples=[sample])
    return {layer: measure(model, layer, data, repetitions) for layer in (POOLED_LAYER, 'backbone[-1]')}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--small', action='store_true', help='small images and one repetition')
    parser.add_argument('--json', help='also write the figures, in seconds, to this file')
    args = parser.parse_args()
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    repetitions, size = (1, 96) if args.small else (3, 224)
    print(f'{device}, torch {torch.__version__}, {torch.get_num_threads()} threads')
    figures = {}
    for name, layer, channels in PLAIN:
        figures[f'{name} {layer}'] = measure_plain(name, layer, channels, size, device, repetitions)
    figures['DeepLabv3'] = measure_deeplab(args.small, device, repetitions)
    if args.json:
        Path(args.json).write_text(json.dumps(figures))


if __name__ == '__main__':
    main()
