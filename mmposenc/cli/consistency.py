"""Measure Top-1 and consistency under shifts (Cons.N) of a classifier, by all named protocols in one pass (Sec. 4.1).

MODEL is a config of mmpretrain, which is tested on its own test data (--data exchanges the folder), or a network by
name: timm:NAME, torchvision:NAME, FILE.py:FUNCTION. For a network by name, --data is a folder of one folder per class
(torchvision's ImageFolder), one folder of images with --labels, or the folder of a CIFAR archive.

Examples:
    mmposenc consistency torchvision:resnet18 --weights resnet18.pth --data imagenet/val --out card.json
    mmposenc consistency mmposenc::augshift_r18_cifar100.py --weights work_dirs/augshift/epoch_120.pth
"""

import csv
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmposenc.cli import common

if TYPE_CHECKING:
    from mmposenc.shifts import ConsistencyCard

# As in mmposenc.shifts, which imports torch.
PROTOCOLS = ('zero_ref', 'zero_pair', 'roll_ref', 'roll_pair', 'reflect_ref', 'reflect_pair', 'crop_pair')


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument('model', help='config file, timm:NAME, torchvision:NAME or FILE.py:FUNCTION')
    parser.add_argument('--weights', required=True, help='file of weights, with whatever prefix; must fit exactly')
    parser.add_argument(
        '--weights-by-order', action='store_true', help='match tensors by their order and shape, not by name'
    )
    parser.add_argument('--trust-checkpoint', action='store_true', help='let the file run code: only if you trust it')
    parser.add_argument('--data', help="folder of the images (default for a config: its own test set's)")
    parser.add_argument('--labels', metavar='FILE', help='CSV of a flat folder: file name, number of the class')
    parser.add_argument('--max-shifts', type=int, nargs='+', default=[8], metavar='N', help='px (default: 8)')
    parser.add_argument('--protocols', nargs='+', choices=PROTOCOLS, help='default: all that the size of images allows')
    parser.add_argument('--seed', type=int, default=0, help='of the shifts (default: 0)')
    parser.add_argument('--resize', type=int, metavar='PX', help="side of the images (default: the network's)")
    parser.add_argument(
        '--crop', type=int, metavar='PX', help="side of what the network sees of them (default: the network's)"
    )
    parser.add_argument(
        '--mean', type=float, nargs=3, help="of RGB in 0 to 1 (default: the network's, else ImageNet's)"
    )
    parser.add_argument('--std', type=float, nargs=3, help="of RGB in 0 to 1 (default: the network's, else ImageNet's)")
    parser.add_argument('--num-classes', type=int, help="of the classifier (default: the network's)")
    parser.add_argument('--batch-size', type=int, default=64, help='images per forward (default: 64)')
    parser.add_argument('--workers', type=int, default=2, help='processes that read images (default: 2)')
    parser.add_argument('--out', help='also write the figures to this JSON file')
    common.add_cfg_options(parser)


def run(args: Namespace) -> None:
    """Measure, and end with the table."""
    source, _, name = args.model.rpartition(':')
    by_name = bool(source) and not args.model.startswith('mmposenc::') and not name.endswith('.py')
    card = _of_network(args) if by_name else _of_config(args)
    rows = card.table()
    say = common.say
    say(f'{card.images} images, Top-1 {card.top1:.2f}% [{rows[0]["top1_low"]:.2f}, {rows[0]["top1_high"]:.2f}]')
    say(f'{"protocol":14}{"N":>4}{"consistency":>13} {"95% interval":18}{"among correct":>14} 95% interval')
    for row in rows:
        size = row['max_shift'] or ''
        names = ('consistency', 'consistency_correct')
        ends = [f'[{row[f"{name}_low"]:.2f}, {row[f"{name}_high"]:.2f}]' for name in names]
        say(
            f'{row["protocol"]:14}{size:>4}{row["consistency"]:13.2f} {ends[0]:18}'
            f'{row["consistency_correct"]:14.2f} {ends[1]}'
        )
    if args.out:
        say(f'wrote {card.save(args.out)}')


def _of_config(args: Namespace) -> 'ConsistencyCard':
    """Through the Runner: preprocessing and data are the config's own."""
    from mmposenc.host.weights import load_weights, weights_by_order
    from mmposenc.layers import unwrap_model

    _refuse(
        args,
        'not for a config, whose data and preprocessing are its own',
        'labels',
        'resize',
        'mean',
        'std',
        'num_classes',
    )
    cfg = common.load_config(Namespace(config=args.model, launcher='none', work_dir=None, **vars(args)))
    common.require(cfg, 'model', 'test_dataloader', 'test_cfg')
    if args.data:
        cfg.test_dataloader.dataset.data_root = args.data
    loop = dict(cfg.test_cfg) if cfg.test_cfg.get('type') == 'mmposenc.ShiftConsistencyLoop' else {}
    crop = args.crop or loop.get('crop_size')
    cfg.test_cfg = {
        **loop,
        'type': 'mmposenc.ShiftConsistencyLoop',
        'max_shifts': args.max_shifts,
        'protocols': args.protocols or [name for name in PROTOCOLS if crop or name != 'crop_pair'],
        'seed': args.seed,
        'crop_size': crop,
    }
    cfg.test_evaluator = dict(type='mmposenc.ShiftConsistencyMetric')
    cfg.load_from = None
    runner = common.build_runner(cfg)
    load = weights_by_order if args.weights_by_order else load_weights
    common.say(load(unwrap_model(runner.model), args.weights, args.trust_checkpoint))
    runner.test()
    return runner.test_loop.card


def _of_network(args: Namespace) -> 'ConsistencyCard':
    """A plain network on plain images."""
    import torch
    from torch.utils.data import DataLoader

    from mmposenc.batches import evaluating, read_logits
    from mmposenc.host.weights import build_network, load_weights, weights_by_order
    from mmposenc.shifts import ShiftedViews, shift_consistency

    _refuse(args, 'only for a config', 'cfg_options')
    if not args.data:
        raise ValueError(f'{args.model} needs --data, a folder of images')
    model = build_network(args.model, args.num_classes)
    load = weights_by_order if args.weights_by_order else load_weights
    common.say(load(model, args.weights, args.trust_checkpoint))
    resize, crop, mean, std, interpolation = _settings(args, model)
    common.say(f'images: side {resize or "as it is"}, crop {crop or "none"}, mean {mean}, std {std}')
    data = open_images(args.data, args.labels, mean, std, resize, interpolation)
    protocols = args.protocols or [name for name in PROTOCOLS if crop or name != 'crop_pair']
    views = ShiftedViews(args.max_shifts, protocols, crop_size=crop)
    with torch.no_grad(), evaluating(model):
        classes = read_logits(model(views.reference(data[0][0][None]))).shape[-1]
    if len(getattr(data, 'classes', range(classes))) != classes:
        raise ValueError(
            f'{args.data} has {len(data.classes)} classes and {args.model} has {classes}: the class of an image is the '
            'place of its folder in alphabetical order; give all folders, or --labels'
        )
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    loader = DataLoader(data, args.batch_size, num_workers=args.workers, pin_memory=device == 'cuda')
    return shift_consistency(model.to(device), loader, args.max_shifts, protocols, args.seed, crop)


def _settings(args: Namespace, model: Any) -> tuple[int | None, int | None, list[float], list[float], str]:
    """Side of the images and of the crop, mean, std and interpolation: as typed, else the network's."""
    source, _, name = args.model.rpartition(':')
    resize, crop, mean, std, interpolation = None, None, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 'bilinear'
    if source == 'timm':
        from timm.data import resolve_model_data_config

        config = resolve_model_data_config(model)
        crop, interpolation = config['input_size'][1], config['interpolation']
        resize, mean, std = int(crop / config['crop_pct']), list(config['mean']), list(config['std'])
        if config['crop_mode'] != 'center' and not args.resize:
            raise ValueError(f'{args.model} was tested with crop_mode {config["crop_mode"]}: give --resize and --crop')
    elif source == 'torchvision':
        from torchvision.models import get_model_weights

        preset = next(iter(get_model_weights(name))).transforms()
        resize, crop, mean, std = preset.resize_size[0], preset.crop_size[0], preset.mean, preset.std
        interpolation = preset.interpolation.value
    if _cifar(args.data):
        resize = crop = None
    resize = args.resize or resize
    crop = args.crop or (crop if crop and resize and crop <= resize else None)
    if crop == resize:
        crop = None
    return resize, crop, args.mean or mean, args.std or std, interpolation


def open_images(
    folder: str, labels: str | None, mean: list[float], std: list[float], resize: int | None, interpolation: str
) -> Any:
    """A data set of normalised images (3, H, W) and the numbers of their classes, in a fixed order.

    Args:
        folder: With one folder per class, flat with `labels`, or of a CIFAR archive (its test split).
        labels: CSV of file names and numbers of classes; a first line without a number is its head.
        mean: Of RGB, in 0 to 1.
        std: Of RGB, in 0 to 1.
        resize: Side in px of the middle square that is left of an image; None leaves images as they are.
        interpolation: Of the resizing, such as 'bilinear'.

    Raises:
        FileNotFoundError, ValueError: If the folder or the table is not such a thing.
    """
    from torchvision import datasets, transforms

    steps: list[Any] = [transforms.ToTensor(), transforms.Normalize(mean, std)]
    if resize:
        mode = transforms.InterpolationMode(interpolation)
        steps = [transforms.Resize(resize, mode), transforms.CenterCrop(resize), *steps]
    transform = transforms.Compose(steps)
    if not Path(folder).is_dir():
        raise FileNotFoundError(f'there is no folder {folder}')
    if kind := _cifar(folder):
        return _read_cifar(kind, folder, transform)
    if not resize:
        raise ValueError('images of a folder differ in size: give --resize')
    if labels is None:
        if not any(path.is_dir() for path in Path(folder).iterdir()):
            raise ValueError(
                f'{folder} has no folders of classes: give --labels, a CSV of file names and class numbers'
            )
        return datasets.ImageFolder(folder, transform)
    rows = _read_labels(folder, labels)
    return _Images([name for _, name in rows], [label for label, _ in rows], transform, folder)


class _Images:
    """Images, each an array or a file of a folder, and the numbers of their classes."""

    def __init__(self, images: Any, labels: list[int], transform: Any, folder: str = '') -> None:
        self.images, self.labels, self.transform, self.folder = images, labels, transform, folder

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image
        from torchvision.datasets.folder import default_loader

        image = self.images[index]
        opened = default_loader(str(Path(self.folder, image))) if isinstance(image, str) else Image.fromarray(image)
        return self.transform(opened), self.labels[index]


def _read_cifar(kind: str, folder: str, transform: Any) -> _Images:
    """The test split; a re-packed copy, which no checksum vouches for, is announced."""
    from mmposenc.mm import datasets

    try:
        data = getattr(datasets, kind)(folder, 'test', download=False)
    except ValueError:
        data = getattr(datasets, kind)(folder, 'test', verify=False, download=False)
        common.say(f'not the official files of {kind}, whose checksums differ; read without running anything')
    return _Images(data.images.permute(0, 2, 3, 1).numpy(), data.labels.tolist(), transform)


def _read_labels(folder: str, table: str) -> list[tuple[int, str]]:
    rows = list(csv.reader(Path(table).read_text(encoding='utf-8').splitlines()))
    if rows and (len(rows[0]) != 2 or not rows[0][1].strip().isdecimal()):
        rows = rows[1:]
    for row in rows:
        if len(row) != 2 or not row[1].strip().isdecimal():
            raise ValueError(f'{table} must hold lines "file name,number of the class", got {",".join(row):.100}')
        if not Path(folder, row[0]).is_file():
            raise FileNotFoundError(f'{table} names {row[0]:.100}, which is not in {folder}')
    if not rows:
        raise ValueError(f'{table} holds no file names')
    return [(int(label), name) for name, label in rows]


def _cifar(folder: str) -> str | None:
    """Name of torchvision's class for the CIFAR archive in a folder, packed or not."""
    for kind, names in {
        'CIFAR10': ('cifar-10-batches-py', 'cifar-10-python.tar.gz'),
        'CIFAR100': ('cifar-100-python', 'cifar-100-python.tar.gz'),
    }.items():
        if any(Path(folder, name).exists() for name in names):
            return kind
    return None


def _refuse(args: Namespace, why: str, *names: str) -> None:
    typed = [f'--{name.replace("_", "-")}' for name in names if getattr(args, name) is not None]
    if typed:
        raise ValueError(f'{", ".join(typed)}: {why}')
