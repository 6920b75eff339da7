"""Measure Top-1 and consistency under shifts (Cons.N) of a classifier, by several protocols (Sec. 4.1).

MODEL is a config of mmpretrain, which is tested on its own test data (--data replaces the folder), or a network by
name: timm:NAME, torchvision:NAME, FILE.py:FUNCTION. For a network by name, --data is a folder of one folder per class
(torchvision's ImageFolder), one folder of images with --labels, or the folder of a CIFAR archive.

Examples:
    mmposenc consistency torchvision:resnet18 --weights resnet18.pth --data imagenet/val --out card.json
    mmposenc consistency mmposenc::augshift_r18_cifar100.py \\
        --weights work_dirs/augshift_r18_cifar100/epoch_120.pth
"""

import csv
from argparse import ArgumentParser, Namespace
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mmposenc.cli import common, models

if TYPE_CHECKING:
    from mmposenc.shifts import ConsistencyCard

# As in mmposenc.shifts, which imports torch.
PROTOCOLS = ('zero_ref', 'zero_pair', 'roll_ref', 'roll_pair', 'reflect_ref', 'reflect_pair', 'crop_pair')


def add_arguments(parser: ArgumentParser) -> None:
    models.add_arguments(parser)
    add = parser.add_argument
    add('--data', help="folder of the images (default for a config: its own test set's)")
    add('--labels', metavar='FILE', help='CSV of a flat folder: file name, number of the class')
    add('--max-shifts', type=int, nargs='+', default=[8], metavar='N', help='largest shifts in px (default: 8)')
    add('--protocols', nargs='+', choices=PROTOCOLS, help='default: all that the size of images allows')
    add('--seed', type=int, default=0, help='seed of the shifts (default: 0)')
    add('--resize', type=int, metavar='PX', help="side of the images (default: the network's)")
    add('--crop', type=int, metavar='PX', help="side of what the network sees (default: the network's)")
    add('--num-classes', type=int, help="classes (default: the network's)")
    add('--batch-size', type=int, help='images per forward (default: 64)')
    add('--workers', type=int, help='processes that read images (default: 2)')
    add('--out', help='also write the figures to this JSON file')


def run(args: Namespace) -> None:
    """Measure, and end with the table."""
    common.check_file(args.out)
    common.check_positive(args, 'resize', 'crop', 'num_classes', 'batch_size')
    card = _of_config(args) if models.is_config(args.model) else _of_network(args)
    rows = card.table()
    common.say(f'{card.images} images, Top-1 {card.top1:.2f}% [{rows[0]["top1_low"]:.2f}, {rows[0]["top1_high"]:.2f}]')
    common.say(f'{"protocol":14}{"N":>4}{"consistency":>13} {"95% interval":18}{"among correct":>14} 95% interval')
    for row in rows:
        names = 'consistency', 'consistency_correct'
        all_ends, ends = (f'[{row[f"{name}_low"]:.2f}, {row[f"{name}_high"]:.2f}]' for name in names)
        share = row['consistency_correct']
        correct = f'{"-":>14}' if isnan(share) else f'{share:14.2f} {ends}'
        figures = f'{row["consistency"]:13.2f} {all_ends:18}{correct}'
        common.say(f'{row["protocol"]:14}{row["max_shift"] or "":>4}{figures}')
    if args.out:
        common.say(f'wrote {card.save(args.out)}')


def _of_config(args: Namespace) -> 'ConsistencyCard':
    """Through the Runner: preprocessing and data are the config's own."""
    from mmposenc.host.config import type_name

    why = 'not for a config, whose data and preprocessing are its own'
    _refuse(args, why, 'labels', 'resize', 'mean', 'std', 'num_classes', 'batch_size', 'workers')
    cfg = models.read_config(args, args.model, 'model', 'test_dataloader', 'test_cfg')
    if args.data:
        cfg.test_dataloader.dataset.data_root = args.data
    name = 'mmposenc.ShiftConsistencyLoop'
    loop = dict(cfg.test_cfg) if type_name(cfg.test_cfg) == name else {}
    cfg.test_cfg = {**loop, 'type': name, **_setting(args, args.crop or loop.get('crop_size'))}
    cfg.test_evaluator = dict(type='mmposenc.ShiftConsistencyMetric')
    cfg.load_from, cfg.resume = None, False
    with TemporaryDirectory() as cfg.work_dir:  # a Runner writes its config, which may be that of a training
        cfg.experiment_name = Path(cfg.work_dir).name  # mmengine reuses what it made for the same name and second
        runner = common.build_runner(cfg)
        models.load_weights(args, runner.model, args.weights)
        runner.test()
    return runner.test_loop.card


def _of_network(args: Namespace) -> 'ConsistencyCard':
    """A plain network on plain images."""
    import torch
    from torch.utils.data import DataLoader

    from mmposenc.batches import evaluating, read_logits
    from mmposenc.shifts import ShiftedViews, shift_consistency

    _refuse(args, 'only for a config', 'cfg_options')
    if not args.data:
        raise ValueError(f'{args.model} needs --data, a folder of images')
    torch.manual_seed(0)  # of random weights
    model, known = models.build(args, args.model, args.num_classes)
    models.load_weights(args, model, args.weights)
    cifar = models.is_cifar(args.data)
    resize = args.resize or (None if cifar else known.resize)
    crop = None if cifar else known.crop
    crop = args.crop or (crop if crop and resize and crop <= resize else None)
    crop = None if crop == resize else crop
    mean, std = list(known.mean), list(known.std)
    common.say(f'images: side {resize or "as it is"}, crop {crop or "none"}, mean {mean}, std {std}')
    data = open_images(args.data, args.labels, known.transform(resize, known.interpolation), resize)
    setting = _setting(args, crop)
    views = ShiftedViews(args.max_shifts, setting['protocols'], crop_size=crop)
    with torch.no_grad(), evaluating(model):
        classes = read_logits(model(views.reference(data[0][0][None]))).shape[-1]
    own = max(data.labels) + 1 if cifar else len(getattr(data, 'classes', range(classes)))
    if own != classes:
        advice = ': the class of an image is the place of its folder in alphabetical order; give all, or --labels'
        raise ValueError(f'{args.data} has {own} classes and {args.model} has {classes}{"" if cifar else advice}')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    workers = 2 if args.workers is None else args.workers
    loader = DataLoader(data, args.batch_size or 64, num_workers=workers, pin_memory=device == 'cuda')
    return shift_consistency(model.to(device), loader, **setting)


def _setting(args: Namespace, crop: int | None) -> dict[str, Any]:
    protocols = args.protocols or [name for name in PROTOCOLS if crop or name != 'crop_pair']
    return dict(max_shifts=args.max_shifts, protocols=protocols, seed=args.seed, crop_size=crop)


def open_images(folder: str, labels: str | None, transform: Any, resize: int | None) -> Any:
    """A data set of images and the numbers of their classes, in a fixed order, from a folder as the `--help` says.

    `transform` takes a PIL image to what the network takes; files must be resized to one size.
    """
    from torchvision.datasets import ImageFolder

    place = models.check_folder(folder)
    if models.is_cifar(folder):
        return models.Images(*models.read_cifar(folder), transform)
    if not resize:
        raise ValueError('images of a folder differ in size: give --resize')
    if labels is not None:
        return models.Images(*_read_labels(place, labels), transform)
    if not any(path.is_dir() for path in place.iterdir()):
        raise ValueError(f'{folder} has no folders of classes: give --labels, a CSV of file names and class numbers')
    return ImageFolder(folder, transform)


def _read_labels(folder: Path, table: str) -> tuple[list[Path], list[int]]:
    rows = list(csv.reader(Path(table).read_text(encoding='utf-8').splitlines()))
    if rows and (len(rows[0]) != 2 or not rows[0][1].strip().isdecimal()):
        rows = rows[1:]
    for row in rows:
        if len(row) != 2 or not row[1].strip().isdecimal():
            raise ValueError(f'{table} must hold lines "file name,number of the class", got {",".join(row):.100}')
        if not (folder / row[0]).is_file():
            raise FileNotFoundError(f'{table} names {row[0]:.100}, which is not in {folder}')
    if not rows:
        raise ValueError(f'{table} holds no file names')
    return [folder / name for name, _ in rows], [int(label) for _, label in rows]


def _refuse(args: Namespace, why: str, *names: str) -> None:
    typed = [f'--{name.replace("_", "-")}' for name in names if getattr(args, name) is not None]
    if typed:
        raise ValueError(f'{", ".join(typed)}: {why}')
