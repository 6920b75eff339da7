"""Measure how much position the pooled features of frozen networks hold, layer by layer (Sec. 3).

MODEL is timm:NAME, torchvision:NAME or FILE.py:FUNCTION. Several models make an atlas. A model whose result is in
--out is not measured again: the same command resumes. Under torchrun the canvases are shared out over the processes.

Controls: circular, reflect and replicate padding of the same weights (circular: no position is left, the zero of the
scale); random weights; another canvas than zeros: noise, other images, or the whole image rolled by cells.

Examples:
    mmposenc probe timm:tf_efficientnet_lite0 --weights lite0.pth --weights-by-order --images photos --out probe
    mmposenc probe torchvision:resnet50 torchvision:vit_b_16 --weights r50.pth none --images photos --out atlas
"""

import csv
import hashlib
import io
import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmposenc.cli import common

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mmposenc.figures.report import Section
    from mmposenc.grids import LocationProbe

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.ppm', '.tif', '.tiff')
CONTROLS = ('circular', 'reflect', 'replicate', 'random', 'noise', 'images', 'rolled')
WHOLE = ('images', 'rolled')
ENDS = ('bn2', 'norm', 'final_conv', 'conv_head')


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument('models', nargs='+', metavar='MODEL', help='timm:NAME, torchvision:NAME or FILE.py:FUNCTION')
    parser.add_argument(
        '--weights', nargs='+', required=True, metavar='FILE', help='one per model; "none" leaves random weights'
    )
    parser.add_argument(
        '--weights-by-order', action='store_true', help='match tensors by their order and shape, not by name'
    )
    parser.add_argument('--trust-checkpoint', action='store_true', help='let the file run code: only if you trust it')
    parser.add_argument('--images', required=True, metavar='DIR', help='folder of images, searched with its subfolders')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for JSON, CSV, figures and the page')
    parser.add_argument(
        '--layers', nargs='+', metavar='LAYER', help='default: the blocks or stages of the network, at most 12'
    )
    parser.add_argument('--num-images', type=int, default=400, metavar='I', help='evenly spaced (default: 400)')
    parser.add_argument('--grid-size', type=int, default=3, metavar='n', help='cells per side (default: 3)')
    parser.add_argument('--patch-size', type=int, default=64, metavar='PX', help='width of a patch (default: 64)')
    parser.add_argument('--cell-size', type=int, metavar='PX', help="width of a cell (default: the patch's)")
    parser.add_argument('--controls', nargs='*', choices=CONTROLS, default=['circular'], help='default: circular')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='of random weights (default: 0 1 2)')
    parser.add_argument(
        '--mean', type=float, nargs=3, help="of RGB in 0 to 1 (default: the network's, else ImageNet's)"
    )
    parser.add_argument('--std', type=float, nargs=3, help="of RGB in 0 to 1 (default: the network's, else ImageNet's)")
    parser.add_argument('--batch-size', type=int, default=36, help='canvases per forward (default: 36)')


def run(args: Namespace) -> list['LocationProbe']:
    """Probe each model, and end with its table and where the page is."""
    import torch

    if len(args.weights) != len(args.models):
        raise ValueError(
            f'--weights must name one file (or none) per model: {len(args.models)}, got {len(args.weights)}'
        )
    if torch.distributed.is_torchelastic_launched():
        torch.distributed.init_process_group('nccl' if torch.cuda.is_available() else 'gloo')
    probes = [_probe(args, model, file) for model, file in zip(args.models, args.weights, strict=True)]
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        for probe in probes:
            common.say(f'{probe.model}: position, top-bottom, left-right, interaction in % of variance; cell in order')
            for row in probe.table():
                shares = (row[name] for name in ('position', 'top_bottom', 'left_right', 'interaction', 'order'))
                common.say(f'  {row["layer"]:28} {row["control"]:10}' + ''.join(f'{share:8.2f}' for share in shares))
        common.say(f'wrote {_write_page(args, probes)}')
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return probes


def _probe(args: Namespace, name: str, file: str) -> 'LocationProbe':
    import torch
    from tqdm import tqdm

    from mmposenc.batches import evaluating
    from mmposenc.grids import LocationProbe, probe_location
    from mmposenc.host.weights import build_network, load_weights, weights_by_order

    torch.manual_seed(0)
    model = build_network(name)
    if file != 'none':
        load = weights_by_order if args.weights_by_order else load_weights
        common.say(f'{name}: {load(model, file, args.trust_checkpoint)}')
    model = model.to('cuda' if torch.cuda.is_available() else 'cpu')
    files = _image_files(args.images, args.num_images)
    mean, std = _mean_and_std(args, name, model)
    settings = {key: getattr(args, key) for key in ('grid_size', 'patch_size', 'cell_size', 'controls')}
    settings |= {'mean': mean, 'std': std, 'layers': args.layers, 'seeds': args.seeds, 'files': list(map(str, files))}
    settings |= {'model': name, 'weights': [file, _size_and_time(file)], 'images': list(map(_size_and_time, files))}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    path = Path(args.out, f'{_slug(name)}-{digest}.json')
    if path.is_file():
        common.say(f'{name}: {path} is there already')
        return LocationProbe.load(path)
    side = args.grid_size * (args.cell_size or args.patch_size) if set(args.controls) & set(WHOLE) else args.patch_size
    images = torch.stack([_read_image(file, side, mean, std) for file in files])
    layers = args.layers
    if layers is None:
        with torch.no_grad(), evaluating(model):
            layers = default_layers(model, images[:1].to(next(model.parameters()).device))
    bar = tqdm(desc=name, unit='batch', disable=None)

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    probe = probe_location(
        model,
        images,
        layers,
        args.grid_size,
        args.patch_size,
        args.cell_size,
        args.controls,
        build=lambda seed: build_network(name),  # seeded by probe_location
        seeds=args.seeds,
        batch_size=args.batch_size,
        progress=progress,
        name=name,
    )
    bar.close()
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        probe.save(path)
    return probe


def default_layers(model: 'nn.Module', image: 'Tensor', most: int = 12) -> list[str]:
    """The blocks or stages of a network, and the normalisation at its end; evenly spaced if there are more than `most`.

    They are the longest row of modules with one parent, among parents as near to the top as the first with four.
    """
    from torch import Tensor, nn

    calls: list[str] = []
    names = {module: name for name, module in model.named_modules()}

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim in (3, 4) and names[module] not in calls:
            calls.append(names[module])

    handles = [module.register_forward_hook(note) for module in model.modules()]
    try:
        model(image)
    finally:
        for handle in handles:
            handle.remove()
    chains: dict[str, list[str]] = {}
    for name in calls:
        parent, _, leaf = name.rpartition('.')
        if name and (any(True for _ in model.get_submodule(name).children()) or leaf.isdecimal()):
            chains.setdefault(parent, []).append(name)
    level = {name: len(name.split('.')) if name else 0 for name in chains}
    first = min((level[name] for name in chains if len(chains[name]) >= 4), default=0)
    found = max((chain for name, chain in chains.items() if level[name] <= first), key=len, default=[])
    if not found:
        raise ValueError(f'{type(model).__name__} has no blocks that run one after the other: give --layers')
    behind = [n for n in calls[calls.index(found[-1]) + 1 :] if '.' not in n and n.lower() in ENDS]
    layers = [*found, *behind[-1:]]
    return [layers[round(i * (len(layers) - 1) / (most - 1))] for i in range(most)] if len(layers) > most else layers


def _image_files(folder: str, number: int) -> list[Path]:
    if not Path(folder).is_dir():
        raise FileNotFoundError(f'there is no folder {folder}')
    files = sorted(path for path in Path(folder).rglob('*') if path.suffix.lower() in SUFFIXES)
    if len(files) < 8:
        raise ValueError(f'{folder} holds {len(files)} images; the probe takes at least 8')
    number = min(number, len(files))
    return [files[i * len(files) // number] for i in range(number)]


def _read_image(file: Path, side: int, mean: list[float], std: list[float]) -> 'Tensor':
    """The middle of an image whose shorter side is resized to `side` px, normalised."""
    import numpy as np
    import torch
    from PIL import Image

    with Image.open(file) as opened:
        image = opened.convert('RGB')
    scale = side / min(image.size)
    size = [max(side, round(scale * edge)) for edge in image.size]
    pixels = torch.from_numpy(np.array(image.resize(size, Image.Resampling.BICUBIC))).permute(2, 0, 1) / 255
    top, left = (pixels.shape[1] - side) // 2, (pixels.shape[2] - side) // 2
    middle = pixels[:, top : top + side, left : left + side]
    return (middle - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def _mean_and_std(args: Namespace, name: str, model: 'nn.Module') -> tuple[list[float], list[float]]:
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    if name.startswith('timm:'):
        from timm.data import resolve_model_data_config

        config = resolve_model_data_config(model)
        mean, std = list(config['mean']), list(config['std'])
    return args.mean or mean, args.std or std


def _write_page(args: Namespace, probes: list['LocationProbe']) -> Path:
    from mmposenc.figures.probe import plot_atlas
    from mmposenc.figures.report import Section, build_report, save_picture, save_report
    from mmposenc.results import atomic_write

    out = Path(args.out)
    for file, rows in (
        ('probe.csv', [{'model': p.model, **row} for p in probes for row in p.table()]),
        ('curves.csv', [{'model': p.model, **row} for p in probes for row in p.curve_table()]),
    ):
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(out / file, text.getvalue())
    sections = [_section(out, probe) for probe in probes]
    if len(probes) > 1:
        caption = 'Share of position over depth, solid as the networks are, dotted with random weights.'
        sections.insert(0, Section('Atlas', [save_picture(plot_atlas(probes), out / 'atlas.svg', caption)]))
    introduction = (
        f'One patch in every cell of a {args.grid_size}x{args.grid_size} canvas, {probes[0].num_images} images. '
        'Position is what the cell adds to the pooled features whatever the patch shows; interaction is position that '
        'depends on the content. An isolated patch on an empty canvas is the setting of the paper (Sec. 3); in full '
        'natural images the share is much smaller (control "rolled").'
    )
    page = build_report('Position in pooled features', sections, [_sentence(p) for p in probes], introduction)
    return save_report(page, out / 'probe.html')


def _section(out: Path, probe: 'LocationProbe') -> 'Section':
    from mmposenc.figures.probe import plot_code_map
    from mmposenc.figures.report import Section, Table, save_picture

    stem, layers = _slug(probe.model), probe.layers
    strongest = max(layers, key=lambda layer: probe.measures[layer]['none']['position'][0])
    shown = list(dict.fromkeys([strongest, layers[-1]]))
    measures = ('position', 'interaction', 'top_bottom', 'left_right', 'order', 'sorted', 'sum', 'shuffled')
    rows = [
        [row['layer'], row['control'], *(f'{row[name]:.2f}' for name in measures)] for row in probe.table()
    ]  # fmt: skip
    head = ['layer', 'control', *(name.replace('_', '-') for name in measures)]
    parts: list[Any] = [
        save_picture(
            probe.plot(),
            out / f'{stem}-depth.svg',
            'Position and interaction by layer and control, position by axis, and the accuracy with which the cell is '
            'predicted. Bands: 95% intervals, by jackknife over images, over test images, or over random networks.',
        ),
        save_picture(
            probe.plot_curves(), out / f'{stem}-curves.svg', 'The accuracy depends on the number of training images.'
        ),
        save_picture(
            plot_code_map(probe, *shown),
            out / f'{stem}-map.svg',
            'The position code, the cell means of the features, along its two leading principal components. Cells that '
            'lie on one another cannot be told apart by these two.',
        ),
        Table(head, rows, 'Shares of variance and accuracies with all training images, in %.'),
    ]
    parts += [
        f'{layer}, {control}: left out. {reason[0].upper()}{reason[1:]}.'
        for layer, controls in probe.left_out.items()
        for control, reason in controls.items()
    ]
    return Section(probe.model, parts)


def _sentence(probe: 'LocationProbe') -> str:
    shares = {layer: probe.measures[layer]['none'] for layer in probe.layers}
    most, last = max(shares, key=lambda layer: shares[layer]['position'][0]), probe.layers[-1]
    return (
        f'{probe.model}: position makes up at most {shares[most]["position"][0]:.1f}% of the variance of the pooled '
        f'features (at {most}), and {shares[last]["position"][0]:.1f}% at {last}, where top-bottom has '
        f'{shares[last]["top_bottom"][0]:.2f}% and left-right {shares[last]["left_right"][0]:.2f}%.'
    )


def _slug(name: str) -> str:
    return ''.join(letter if letter.isalnum() or letter in '._-' else '_' for letter in name)


def _size_and_time(file: Any) -> list[int]:
    stat = Path(file).stat() if Path(file).is_file() else None
    return [stat.st_size, stat.st_mtime_ns] if stat else []
