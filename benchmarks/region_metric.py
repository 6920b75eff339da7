"""RegionIoUMetric with overall, left, center and right against one stock mmseg IoUMetric, which knows overall only.

    python benchmarks/region_metric.py            # 1024x2048, 19 classes; the CPU and, if there is one, the GPU
    python benchmarks/region_metric.py --small    # 256x512, to see the form

Both metrics get the same predictions, int64 maps on the device as mmseg's models give them, image by image in turns.
First it checks that `overall` equals the stock metric to the last digit that it prints, and each other region the
stock metric on the cropped maps. The ratio is the median over the rounds of the time for all images of a round.
Labels are random blocks with void pixels; four pixels of five are predicted right.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmseg.evaluation import IoUMetric
from torch import Tensor

from mmposenc.mm.metrics.region_iou import RegionIoUMetric

NUM_CLASSES, VOID = 19, 255
CROPS = {'overall': (0, 1), 'left': (0, 1 / 2), 'center': (1 / 4, 3 / 4), 'right': (1 / 2, 1)}


def make_samples(num_images: int, height: int, width: int, device: str) -> list[dict]:
    """What a metric receives for each image: label map and prediction, (1, H, W), on the device."""
    generator = torch.Generator().manual_seed(0)

    def random_map(high: int, block: int) -> Tensor:
        blocks = torch.randint(high, (1, height // block, width // block), generator=generator)
        return blocks.repeat_interleave(block, 1).repeat_interleave(block, 2)

    samples = []
    for _ in range(num_images):
        label = random_map(NUM_CLASSES + 1, 32).to(device)
        prediction = torch.where(random_map(5, 4).to(device) > 0, label, random_map(NUM_CLASSES, 16).to(device))
        prediction[label == NUM_CLASSES] = 0
        label[label == NUM_CLASSES] = VOID
        samples.append({'gt_sem_seg': {'data': label}, 'pred_sem_seg': {'data': prediction}})
    return samples


def cropped(sample: dict, start: float, stop: float) -> dict:
    width = sample['gt_sem_seg']['data'].shape[-1]
    columns = slice(round(start * width), round(stop * width))
    return {key: {'data': value['data'][..., columns]} for key, value in sample.items()}


def make_metric(kind: Callable[..., BaseMetric]) -> BaseMetric:
    metric = kind(iou_metrics=['mIoU', 'mDice'])
    metric.dataset_meta = {'classes': [f'class {number}' for number in range(NUM_CLASSES)]}
    return metric


def check_same_result(samples: list[dict]) -> int:
    """All figures of all regions against the stock metric on the crops. Returns how many were compared."""
    ours = make_metric(RegionIoUMetric)
    ours.process({}, samples)
    figures = ours.evaluate(len(samples))
    compared = 0
    for region, part in CROPS.items():
        stock = make_metric(IoUMetric)
        stock.process({}, [cropped(sample, *part) for sample in samples])
        for key, value in stock.evaluate(len(samples)).items():
            if f'{figures[f"{region}/{key}"]:.2f}' != f'{value:.2f}':
                raise SystemExit(f'{region}/{key}: {figures[f"{region}/{key}"]} here, {value} by the stock metric')
            compared += 1
    return compared


def wait(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()


def seconds(metric: BaseMetric, sample: dict, device: str) -> float:
    wait(device)
    start = time.perf_counter()
    metric.process({}, [sample])
    wait(device)
    return time.perf_counter() - start


def measure(args: argparse.Namespace, device: str) -> dict:
    """Check, time and print on one device."""
    samples = make_samples(args.images, *args.size, device)
    print(f'{torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"}:')
    print(f'  {check_same_result(samples)} figures of {len(CROPS)} regions equal the stock metric on the crops')
    metrics = {'stock': make_metric(IoUMetric), 'ours': make_metric(RegionIoUMetric)}
    for metric in metrics.values():  # warms up
        metric.process({}, samples)
    rounds: dict[str, list[float]] = {name: [] for name in metrics}
    for _ in range(args.rounds):
        spent = dict.fromkeys(metrics, 0.0)
        for index, sample in enumerate(samples):
            for name in sorted(metrics, reverse=index % 2 == 1):  # in turns, and so is the first
                spent[name] += seconds(metrics[name], sample, device)
        for name, total in spent.items():
            rounds[name].append(total / len(samples))
    medians = {name: median(values) for name, values in rounds.items()}
    ratios = [ours / stock for ours, stock in zip(rounds['ours'], rounds['stock'], strict=True)]
    for name, value in medians.items():
        print(f'  {name:6s} {1000 * value:9.3f} ms per image')
    print(
        f'  ours with {len(CROPS)} regions / one stock: {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})'
    )
    return {'ms_per_image': {name: 1000 * value for name, value in medians.items()}, 'ratio': median(ratios)}


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', type=int, nargs=2, default=[1024, 2048], metavar=('H', 'W'), help='multiples of 32')
    parser.add_argument('--images', type=int, default=8, help='in each round')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--small', action='store_true', help='256x512 px and 3 rounds, to see the form')
    parser.add_argument('--json', help='also write the figures to this file')
    args = parser.parse_args()
    if args.small:
        args.size, args.rounds = [256, 512], 3
    MMLogger.get_instance('benchmark', log_level='ERROR')  # The tables of both metrics are not shown.

    print(f'{args.size[0]}x{args.size[1]} px, {NUM_CLASSES} classes, {args.images} images, {args.rounds} rounds')
    figures = {
        device: measure(args, device) for device in ('cpu', 'cuda') if device == 'cpu' or torch.cuda.is_available()
    }
    if args.json:
        with open(args.json, 'w') as file:
            json.dump({'size': args.size, 'classes': NUM_CLASSES, 'devices': figures}, file)


if __name__ == '__main__':
    main()
