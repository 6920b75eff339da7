"""Measure how much position the pooled features of frozen networks hold, layer by layer (Sec. 3).

MODEL is a config of mmpretrain or mmseg, timm:NAME, torchvision:NAME or FILE.py:FUNCTION. Several models make an atlas.
A model whose result is in --out is not measured again: the same command resumes. Under torchrun the canvases are shared
out over the processes.

Controls: circular, reflect and replicate padding of the same weights (circular: no position is left, the zero of the
scale); random weights; another canvas than zeros: noise, other images, or the whole image rolled by cells. With one of
the last two, images are resized to the canvas instead of to the patch, so patches show less of them.

Examples:
    mmposenc probe timm:tf_efficientnet_lite0 --weights lite0.pth --weights-by-order --images photos --out probe
    mmposenc probe torchvision:resnet50 torchvision:vit_b_16 --weights r50.pth none --images photos --out atlas
"""

import csv
import hashlib
import io
import json
import os
import re
import sys
import time
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmposenc.cli import common, models

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mmposenc.figures.report import Section
    from mmposenc.grids import LocationProbe

CONTROLS = ('circular', 'reflect', 'replicate', 'random', 'noise', 'images', 'rolled')
ENDS = ('bn2', 'norm', 'final_conv', 'conv_head')
ATLAS = (
    'How much of the variance of the pooled features position explains, over the depth of each network: look where it '
    'is most, and how little is left at the end. Dotted, where measured: the same network with random weights.'
)
DEPTH = (
    'Left: how much of the variance the cell explains whatever the patch shows, in total and by axis. Upper right: '
    'what it explains for some patches only. Lower right: how often the cell is predicted for images that the read-out '
    'was not trained on. A network holds position where it lies above circular padding, which leaves none, and above '
    'chance. Bands: 95% intervals, by jackknife over images, over test images, or over random networks.'
)
CURVES = (
    'How often the cell is predicted from the channels in order, sorted by size, summed or shuffled. In order far '
    'above sorted: position is in which channels answer. A curve that still rises at its right end may rise further.'
)
CODE_MAP = (
    'The position code, the mean features of each cell, along its two leading principal components; lines join '
    'neighbours. The more it looks like the grid, the better the layer keeps the canvas. Cells that lie on one '
    'another cannot be told apart by these two.'
)
FIGURES = (
    'In %. Position to left-right: shares of the variance of the pooled features; estimates near zero may fall below. '
    'Order to shuffled: how often the cell is predicted, with all training images. Control none: the network as it is.'
)


def add_arguments(parser: ArgumentParser) -> None:
    models.add_arguments(parser, several=True)
    add = parser.add_argument
    add('--images', required=True, metavar='DIR', help='images, subfolders included, or a CIFAR archive')
    add('--out', required=True, metavar='DIR', help='folder for JSON, CSV, figures and the page')
    add('--layers', nargs='+', metavar='LAYER', help='dotted module paths (default: blocks or stages, at most 12)')
    add('--num-images', type=int, default=400, metavar='I', help='how many of them, evenly spaced (default: 400)')
    add('--grid-size', type=int, default=3, metavar='n', help='cells per side (default: 3)')
    add('--patch-size', type=int, default=64, metavar='PX', help='width of a patch (default: 64)')
    add('--cell-size', type=int, metavar='PX', help='how far the patch moves (default: its width)')
    add('--controls', nargs='*', choices=CONTROLS, default=['circular'], help='see above (default: circular)')
    add('--seeds', type=int, nargs='+', default=[0, 1, 2], help='seeds of the random weights (default: 0 1 2)')
    add('--batch-size', type=int, default=9, help='canvases per forward (default: 9)')


def run(args: Namespace) -> list['LocationProbe']:
    """Probe each model, and end with its table and where the page is."""
    import torch

    common.check_positive(args, 'num_images', 'patch_size', 'cell_size', 'batch_size')
    if len(args.weights) != len(args.models):
        numbers = f'{len(args.models)}, got {len(args.weights)}'
        raise ValueError(f'--weights must name one file (or none) per model: {numbers}')
    if torch.distributed.is_torchelastic_launched():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
        torch.distributed.init_process_group('nccl' if torch.cuda.is_available() else 'gloo')
    several = len(set(args.models)) < len(args.models)  # weights of one network
    probes = []
    for model, file in zip(args.models, args.weights, strict=True):
        probe = _probe(args, model, file)
        probes.append(replace(probe, model=f'{probe.model}, {file}') if several else probe)
    if common.is_first():
        for probe in probes:
            common.say(f'{probe.model}: shares of variance, and how often the cell is predicted (in order), in %')
            names = ('position', 'top_bottom', 'left_right', 'interaction', 'order')
            titles = ''.join(f'{name.replace("_", "-"):>12}' for name in names)
            common.say(f'  {"layer":28} {"control":10}{titles}')
            for row in probe.table():
                figures = ''.join(f'{_two_digits(row[name]):>12}' for name in names)
                common.say(f'  {row["layer"]:28} {row["control"]:10}{figures}')
        common.say(f'wrote {_write_page(args, probes)}')
    return probes


def _probe(args: Namespace, name: str, file: str) -> 'LocationProbe':
    import torch

    from mmposenc.batches import evaluating
    from mmposenc.grids import LocationProbe, probe_location
    from mmposenc.grids.canvas import canvas_side
    from mmposenc.ranking import model_fingerprint

    torch.manual_seed(0)
    model, preprocessing = models.build(args, name)
    models.load_weights(args, model, file)
    model = model.to('cuda' if torch.cuda.is_available() else 'cpu')
    if name.startswith(('timm:', 'torchvision:')):  # a CPU runs these twice as fast so; other networks may not take it
        model = model.to(memory_format=torch.channels_last)
    sources = _image_sources(args.images, args.num_images)
    options = {key: getattr(args, key) for key in ('grid_size', 'patch_size', 'cell_size', 'controls', 'seeds')}
    settings = {**options, 'layers': args.layers, 'model': name, 'weights': model_fingerprint(model)}
    settings |= {'definition': models.definition(args, name), 'preprocessing': str(preprocessing)}
    settings |= {'images': list(map(_identity, sources))}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    path = Path(args.out, f'{_slug(name)}-{digest}.json')
    if path.is_file():
        common.say(f'{name}: already measured, see {path}')
        return LocationProbe.load(path)
    canvas = canvas_side(args.grid_size, args.patch_size, args.cell_size or args.patch_size)
    side = canvas if {'images', 'rolled'} & set(args.controls) else args.patch_size
    pictures = models.Images(sources, [0] * len(sources), preprocessing.transform(side, 'bicubic'))
    images = torch.stack([pictures[i][0] for i in range(len(sources))])
    layers = args.layers
    if layers is None:
        with torch.no_grad(), evaluating(model):
            like = next(model.parameters())
            layers = default_layers(model, like.new_zeros(1, images.shape[1], canvas, canvas))
    begun = time.monotonic()

    def progress(done: int, total: int) -> None:
        if common.is_first() and sys.stderr.isatty():
            left = round((time.monotonic() - begun) / done * (total - done))
            line = f'\r{name}: batch {done} of {total}, {left // 60}:{left % 60:02} left '
            print(line, end='' if done < total else '\n', file=sys.stderr, flush=True)

    options |= dict(batch_size=args.batch_size, progress=progress, name=name)
    # Another network of the same name, seeded by `probe_location`.
    probe = probe_location(model, images, layers, build=lambda seed: models.build(args, name)[0], **options)
    if common.is_first():
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

    with ExitStack() as stack:
        for module in model.modules():
            stack.enter_context(module.register_forward_hook(note))
        model(image)
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


def _image_sources(folder: str, number: int) -> list[Any]:
    """Evenly spaced images of a folder: files, or the pixels of a CIFAR archive."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    place = models.check_folder(folder)
    if models.is_cifar(folder):
        found = list(models.read_cifar(folder)[0])
    else:
        found = sorted(path for path in place.rglob('*') if path.suffix.lower() in IMG_EXTENSIONS)
    if not found:
        raise ValueError(f'{folder} holds no images: {", ".join(IMG_EXTENSIONS)}')
    number = min(number, len(found))
    return [found[i * len(found) // number] for i in range(number)]


def _identity(source: Any) -> Any:
    if isinstance(source, Path):
        return str(source), source.stat().st_size, source.stat().st_mtime_ns
    return hashlib.sha256(source.tobytes()).hexdigest()


def _write_page(args: Namespace, probes: list['LocationProbe']) -> Path:
    from mmposenc.grids import LocationProbe
    from mmposenc.results import atomic_write

    out = Path(args.out)
    for file, table in (('probe.csv', LocationProbe.table), ('curves.csv', LocationProbe.curve_table)):
        rows, text = [{'model': probe.model, **row} for probe in probes for row in table(probe)], io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(out / file, text.getvalue())
    try:
        from mmposenc.figures.probe import plot_atlas
        from mmposenc.figures.report import Section, build_report, save_picture
    except ImportError as error:
        common.say(f'no page: {error}')
        return out / 'probe.csv'
    sections = [_section(out, probe) for probe in probes]
    if len(probes) > 1:
        sections.insert(0, Section('All networks', [save_picture(plot_atlas(probes), out / 'atlas.svg', ATLAS)]))
    introduction = (
        f'One patch in every cell of a {args.grid_size}x{args.grid_size} canvas, {probes[0].num_images} images. '
        'Position is what the cell adds to the pooled features whatever the patch shows; interaction is position that '
        'depends on the content. An isolated patch on an empty canvas is the setting of the paper (Sec. 3); in full '
        'natural images the share is much smaller (control "rolled").'
    )
    page = build_report('Position in pooled features', sections, [_sentence(p) for p in probes], introduction)
    return atomic_write(out / 'probe.html', page)


def _section(out: Path, probe: 'LocationProbe') -> 'Section':
    from mmposenc.figures.probe import plot_code_map
    from mmposenc.figures.report import Section, Table, save_picture

    measures = ('position', 'interaction', 'top_bottom', 'left_right', 'order', 'sorted', 'sum', 'shuffled')
    rows = [[row['layer'], row['control'], *(f'{row[name]:.2f}' for name in measures)] for row in probe.table()]
    head = ['layer', 'control', *(name.replace('_', '-') for name in measures)]
    shown = dict.fromkeys([_strongest(probe), probe.layers[-1]])
    stem = _slug(probe.model)
    parts: list[Any] = [
        save_picture(probe.plot(), out / f'{stem}-depth.svg', DEPTH),
        save_picture(probe.plot_curves(), out / f'{stem}-curves.svg', CURVES),
        save_picture(plot_code_map(probe, *shown), out / f'{stem}-map.svg', CODE_MAP),
        Table(head, rows, FIGURES),
    ]
    for layer, controls in probe.left_out.items():
        for control, reason in controls.items():
            parts.append(f'{layer}, {control}: left out. {reason[0].upper()}{reason[1:]}.')
    return Section(probe.model, parts)


def _strongest(probe: 'LocationProbe') -> str:
    return max(probe.layers, key=lambda layer: probe.measures[layer]['none']['position'][0])


def _sentence(probe: 'LocationProbe') -> str:
    most, last = _strongest(probe), probe.layers[-1]
    at_most, at_end = (probe.measures[layer]['none'] for layer in (most, last))
    end = f'and {at_end["position"][0]:.1f}% at {last}' if most != last else 'the last layer'
    axes = [_two_digits(at_end[name][0]) for name in ('top_bottom', 'left_right')]
    return (
        f'{probe.model}: position makes up at most {at_most["position"][0]:.1f}% of the variance of the pooled '
        f'features (at {most}), {end}, where top-bottom has {axes[0]}% and left-right {axes[1]}%.'
    )


def _two_digits(number: float) -> str:
    return f'{round(number, 2) + 0.0:.2f}'  # no -0.00


def _slug(name: str) -> str:
    return re.sub(r'[^\w.-]', '_', name)
