"""Position in the pooled features of a frozen network (Sec. 3, for networks that were never trained for it)."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf, isqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, distributed, nn

from mmposenc.batches import all_reduce_sum_, evaluating, model_device, read_batch
from mmposenc.grids.canvas import CANVASES, canvas_side, cell_canvases, cut_middle, rolled_canvases
from mmposenc.grids.padding import PADDINGS, Padding, TotalStride
from mmposenc.grids.readouts import READOUTS, Curve, read_cells, t_interval
from mmposenc.grids.variance import AXES, COMPONENTS, PositionVariance, cell_contrasts, position_variance
from mmposenc.grids.weights import calibrate_batch_norm, random_weights, without_position_embedding
from mmposenc.layers import Layout, check_layer, dim_of_type, eager_forwards, layer_hook, unwrap_model
from mmposenc.ranking import Ranking, model_fingerprint
from mmposenc.results import Result

CONTROLS = (*PADDINGS, 'random', *CANVASES[1:])
"""What a network can be compared with; see `probe_location`."""
MEASURES = (*COMPONENTS[:3], *AXES[:4], *READOUTS)
"""The columns of `LocationProbe.table`, in %."""
ZERO = 1e-4
"""Largest share of position and interaction, in %, with which circular padding counts as the zero of the scale."""

Measure = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class LocationProbe(Result):
    """Position in pooled features, by layer and control.

    Args:
        layers: In the order in which they run. Dicts are by layer, then by control; 'none' is the network as it is.
        depth: Share of the calls of modules without children that are done when a layer has run, 0 to 1.
        channels, strides: Number of channels K, and the total stride up to a layer in px.
        measures: (value, low, high) by name of the measure, in %.
        curves: Points (training images, accuracy, low, high) by read-out, in %.
        dead: Number of channels without variance, which no share includes.
        left_out: Why a control is missing.
        codes: Cell means of the features, (C, K): the position code.
        position, variance: Position variance and variance of each channel, (K,), in squared units of the features.
        grid_size, patch_size, cell_size: Cells per side; widths of a patch and of a cell in px.
        num_images: Images, each seen in every cell.
        model, model_sha256: Class of the network, or the name that was given; `model_fingerprint` of its weights.
    """

    FORMAT: ClassVar[str] = 'mmposenc.probe/1'

    layers: tuple[str, ...]
    depth: dict[str, float]
    channels: dict[str, int]
    strides: dict[str, int]
    measures: dict[str, dict[str, dict[str, Measure]]]
    curves: dict[str, dict[str, dict[str, Curve]]]
    dead: dict[str, dict[str, int]]
    left_out: dict[str, dict[str, str]]
    codes: dict[str, Tensor]
    position: dict[str, Tensor]
    variance: dict[str, Tensor]
    grid_size: int
    patch_size: int
    cell_size: int
    num_images: int
    model: str = ''
    model_sha256: str = ''
    versions: dict[str, str] = field(default_factory=lambda: {'torch': str(torch.__version__)})

    def table(self) -> list[dict[str, Any]]:
        """One row per layer and control: shares of variance and accuracies with all training images, in %.

        `_low` and `_high` are the ends of the 95% intervals: by jackknife over images for shares, over test images for
        accuracies, over seeds for the control 'random'. `variance` is the mean over channels, in squared units of the
        features, of the network as it is.
        """
        rows = []
        for layer in self.layers:
            for control, measures in self.measures[layer].items():
                row = dict(layer=layer, depth=self.depth[layer], channels=self.channels[layer], control=control)
                row |= {name: measures[name][0] for name in MEASURES}
                row['train_images'] = self.curves[layer][control]['order'][-1][0]
                own = self.variance.get(layer) if control == 'none' else None
                row['variance'] = None if own is None else own.mean().item()
                for name in MEASURES:
                    row[f'{name}_low'], row[f'{name}_high'] = measures[name][1:]
                rows.append(row)
        return rows

    def curve_table(self) -> list[dict[str, Any]]:
        """One row per layer, control, read-out and number of training images: accuracy with its interval, in %."""
        return [
            dict(layer=layer, control=control, readout=readout, train_images=images, accuracy=value, low=low, high=high)
            for layer in self.layers
            for control, readouts in self.curves[layer].items()
            for readout, points in readouts.items()
            for images, value, low, high in points
        ]

    def code(self, layer: str) -> Tensor:
        """The position code of a layer: the cell means of its pooled features, (C, K), the content averaged out."""
        self._check(layer)
        return self.codes[layer]

    def ranking(self, layer: str, contrast: str | None = None) -> Ranking:
        """Rank the channels of a layer by the share of position in their variance, or by one contrast of it.

        'left_right' or 'top_bottom' ranks by the linear contrast of the cell means over the channel's standard
        deviation: first the channels that answer most on the left (the top), last those that answer most on the right
        (the bottom). 'vertical_even' and 'horizontal_even': first those that answer most in the middle rows (columns).
        ValueError if the layer was not probed, or there is no such contrast.
        """
        self._check(layer)
        variance = self.variance[layer]
        live = variance > 1e-10 * variance.median()
        if contrast is None:
            scores = self.position[layer] / variance
            scores = torch.where(live, scores, scores[live].min().clamp(max=0))
        elif contrast not in AXES[:4]:
            raise ValueError(f'contrast must be one of {", ".join(AXES[:4])}, or None, got {contrast!r}')
        else:
            basis = cell_contrasts(self.grid_size)[contrast]
            if not len(basis):
                raise ValueError(f'a grid of {self.grid_size} cells per side has no {contrast}: give at least 3')
            scores = basis[0] @ self.codes[layer].double() / (self.grid_size * variance.sqrt())
            scores = torch.where(live, scores, 0.0)
        return Ranking(
            layer=layer,
            statistic='position',
            pair='none',
            region=contrast or 'overall',
            scores=scores.tolist(),
            num_images=self.num_images,
            model=self.model,
            model_sha256=self.model_sha256,
            data_set=f'{self.patch_size} px patches in {self.grid_size}x{self.grid_size} cells of {self.cell_size} px',
        )

    def plot(self) -> Any:
        """Share of position and accuracy over depth, as a matplotlib Figure."""
        from mmposenc.figures.probe import plot_depth

        return plot_depth(self)

    def plot_curves(self) -> Any:
        """Accuracy of every read-out over the number of training images, a panel per layer."""
        from mmposenc.figures.probe import plot_learning_curves

        return plot_learning_curves(self)

    def plot_map(self, layer: str) -> Any:
        """The position code of a layer along its two leading principal components: the canvas as the layer has it."""
        from mmposenc.figures.probe import plot_code_map

        self._check(layer)
        return plot_code_map(self, layer)

    def _check(self, layer: str) -> None:
        if layer not in self.layers:
            raise ValueError(f'layer must be one of {", ".join(self.layers)}, which were probed, got {layer!r}')


def probe_location(
    model: nn.Module,
    images: Tensor | Iterable[Any],
    layers: Sequence[str],
    grid_size: int = 3,
    patch_size: int = 64,
    cell_size: int | None = None,
    controls: Sequence[str] = ('circular',),
    train_images: Sequence[int] | None = None,
    build: Callable[[int], nn.Module] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    unpack: Callable[[Any], tuple[Any, Any]] | None = None,
    forward: Callable[[Tensor], object] | None = None,
    channel_dim: int | None = None,
    prefix_tokens: int | None = None,
    batch_size: int = 9,
    progress: Callable[[int, int], object] | None = None,
    name: str = '',
) -> LocationProbe:
    """Measure how much position the pooled features of a frozen network hold (Sec. 3).

    The middle of each image is put into every cell of an n x n canvas of zeros (the mean colour of normalised images),
    and the network runs once per canvas. Measured on the pooled features of each layer: the share of their variance
    that the cell explains (`position_variance`), how well it is predicted from them (`read_cells`), and the position
    code, their mean in each cell. In full natural images ('rolled') the share is much smaller than on an empty canvas,
    the paper's setting: state both.

    Args:
        images: At least 8 normalised images (I, 3, H, W), or a loader of them. Their middle is cut out.
        layers: Dotted module paths, with [i] behind them where the module gives a tuple.
        grid_size, patch_size: Cells per side; width of the patch in px.
        cell_size: Width of a cell in px, default the patch's. A multiple of the total stride up to the last layer, else
            its stride phase tells the cell. A patch in narrower cells moves by less than its own width.
        controls: Any of
            'circular': every convolution and pool pads circularly, learned absolute position embeddings are zero. Then
            position and interaction are 0 and the read-outs `order`, `sorted` and `sum` at chance, exactly: the zero of
            the scale. Where they are not (windows, unpadded convolutions, TorchScript) it is left out, see `left_out`;
            'reflect', 'replicate': that padding, same weights;
            'random': random weights for each seed, batch normalisation calibrated on canvases of up to 64 images;
            'noise', 'images', 'rolled': another canvas: Gaussian noise of the images' mean and deviation; another of
            the images; the whole image, rolled by cells. The last two need images of the canvas' size.
        train_images: As in `read_cells`.
        build, seeds: For 'random': a function from a seed to a network of the same architecture (default: all modules
            are re-initialised in place), and the seeds.
        unpack: Returns `(images, targets)` of a batch of the loader, if it is neither a tuple nor a dict.
        forward: How the network takes images, default `model` itself.
        channel_dim, prefix_tokens: If the layout of a layer is not established, see `mmposenc.layers`.
        batch_size: Canvases per forward, rounded to whole images.
        progress: Called with the numbers of forwards done and to do.
        name: What to call the network; default its class.

    Memory grows with images x cells x channels of the layers. With `torch.distributed` initialised every process is
    given the same images, and returns the same result.

    ValueError if a layer does not exist, runs twice or has an unknown layout, the cells are not at one stride phase,
    the images are too few or too small, or an argument is out of range.

    Example:
        >>> network = torchvision.models.mobilenet_v2(weights=None)
        >>> images = torch.randn(8, 3, 32, 32)
        >>> probe = probe_location(network, images, ['features.3', 'features.10'], patch_size=32)
        >>> [(row['layer'], row['control'], round(row['order'], 1)) for row in probe.table()][1]
        ('features.3', 'circular', 11.1)
        >>> probe.ranking('features.10', 'left_right').num_channels
        64
    """
    cell_size = patch_size if cell_size is None else cell_size
    if isinstance(layers, str) or not layers or len(set(layers)) != len(layers):
        raise ValueError(f"layers must be a list of different layers such as ['layer3', 'layer4'], got {layers!r}")
    if grid_size < 2:
        raise ValueError(f'grid_size must be at least 2 cells per side, got {grid_size}')
    if min(patch_size, cell_size) < 1:
        raise ValueError(f'patch_size and cell_size must be at least 1 px, got {patch_size} and {cell_size}')
    if isinstance(controls, str) or set(controls) - set(CONTROLS):
        raise ValueError(f'controls must be a list out of {", ".join(CONTROLS)}, got {controls!r}')
    if 'random' in controls and not len(seeds):
        raise ValueError('seeds must name at least one seed for the control random')
    whole = {'images', 'rolled'} & set(controls)
    side = canvas_side(grid_size, patch_size, cell_size)
    pictures = _read_images(images, unpack, patch_size, side if whole else patch_size)
    network = unwrap_model(model)
    conditions: list[tuple[str, int | None]] = [('none', None)]
    for control in sorted(dict.fromkeys(controls), key=lambda each: each != 'circular'):
        conditions += [(control, seed) for seed in seeds] if control == 'random' else [(control, None)]
    layout = dict(channel_dim=channel_dim, prefix_tokens=prefix_tokens)
    with evaluating(model), torch.no_grad(), eager_forwards():
        run = _Run(network, forward or network, layout, pictures, grid_size, patch_size, cell_size, batch_size)
        run.examine(layers)
        run.progress, run.passes = progress, len(conditions)
        found: dict[str, dict[str, list[_Found]]] = {layer: {} for layer in run.depth}
        left_out: dict[str, dict[str, str]] = {layer: {} for layer in run.depth}
        codes, plain = {}, {}  # type: ignore[var-annotated]
        for control, seed in conditions:
            with ExitStack() as stack:
                if control in PADDINGS:
                    stack.enter_context(Padding(control))
                if control == 'circular':
                    stack.enter_context(without_position_embedding(network))
                if seed is not None:
                    stack.enter_context(random_weights(network, seed, build))
                    calibrate_batch_norm(network, run.calibration)
                features = run.features(control if control in CANVASES else 'zeros')
            for layer, by_control in found.items():
                z = features.pop(layer)
                if control in ('reflect', 'replicate') and z.equal(plain[layer]):
                    left_out[layer][control] = 'the features are those of zero padding: no padding was replaced'
                    continue
                try:
                    variance = position_variance(z, grid_size)
                except ValueError as error:
                    raise ValueError(f'layer {layer!r} under control {control!r}: {error}') from None
                position, interaction = (variance.shares[part][0] for part in ('position', 'interaction'))
                if control == 'circular' and max(abs(position), abs(interaction)) > ZERO:
                    shares = f'position is {position:.2g}% and interaction {interaction:.2g}% where both must be 0'
                    why = 'the network computes something that is not invariant to moves of the image'
                    left_out[layer][control] = f'{shares}: {why}'
                    continue
                by_control.setdefault(control, []).append((variance, read_cells(z, train_images)))
                if control == 'none':
                    plain[layer] = z
                    codes[layer] = z.double().mean(0).float()
    measures, curves, dead = ({layer: {} for layer in found} for _ in range(3))  # type: ignore[var-annotated]
    for layer, by_control in found.items():
        for control, runs in by_control.items():
            measures[layer][control], curves[layer][control] = _figures(runs)
            dead[layer][control] = max(int((~variance.live).sum()) for variance, _ in runs)
    none = {layer: by_control['none'][0][0] for layer, by_control in found.items()}
    return LocationProbe(
        layers=tuple(run.depth),
        depth=run.depth,
        channels=run.channels,
        strides=run.strides,
        measures=measures,
        curves=curves,
        dead=dead,
        left_out=left_out,
        codes=codes,
        position={layer: variance.components['position'] for layer, variance in none.items()},
        variance={layer: variance.total for layer, variance in none.items()},
        grid_size=grid_size,
        patch_size=patch_size,
        cell_size=cell_size,
        num_images=len(pictures),
        model=name or type(network).__name__,
        model_sha256=model_fingerprint(network),
    )


_Found = tuple[PositionVariance, dict[str, Curve]]


def _read_images(images: Tensor | Iterable[Any], unpack: Any, patch_size: int, needed: int) -> Tensor:
    cut = []
    for batch in [images] if isinstance(images, Tensor) else images:
        pictures = read_batch(batch, unpack)[0]
        if min(pictures.shape[-2:]) < needed:
            why = 'the patch' if needed == patch_size else 'the canvas of images and rolled'
            got = f'{pictures.shape[-2]}x{pictures.shape[-1]}: resize them, or give a smaller patch_size'
            raise ValueError(f'images must be at least {needed}x{needed} px ({why}), got {got}')
        # Around the middle of the patch, so that it is the same with and without what surrounds it.
        top, left = ((size - patch_size) // 2 - (needed - patch_size) // 2 for size in pictures.shape[-2:])
        cut.append(pictures[..., top : top + needed, left : left + needed].detach().cpu())
    if sum(map(len, cut)) < 8:
        raise ValueError(f'the probe takes at least 8 images, got {sum(map(len, cut))}')
    return torch.cat(cut).contiguous()


class _DoneError(Exception):
    """Ends a forward when the last layer has been recorded; never leaves this module."""


@dataclass
class _Run:
    """Canvases through the network, and the pooled features that the layers give."""

    network: nn.Module
    call: Callable[[Tensor], object]
    layout: dict[str, int | None]
    pictures: Tensor
    grid_size: int
    patch_size: int
    cell_size: int
    batch_size: int
    progress: Callable[[int, int], object] | None = None
    passes: int = 1
    forwards: int = 0
    depth: dict[str, float] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    strides: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        dtype = next((p.dtype for p in self.network.parameters() if p.is_floating_point()), self.pictures.dtype)
        self.like = torch.empty(0, device=model_device(self.network), dtype=dtype)
        self.images_per_batch = max(1, self.batch_size // self.grid_size**2)
        shared = distributed.is_available() and distributed.is_initialized()
        self.rank, self.world = (distributed.get_rank(), distributed.get_world_size()) if shared else (0, 1)
        if self.world > len(self.pictures):
            raise ValueError(f'{self.world} processes cannot share {len(self.pictures)} images: start fewer')
        if self.world > 1:
            digest = int(hashlib.sha256(self.pictures.numpy().tobytes()).hexdigest()[:8], 16)
            if all_reduce_sum_(torch.tensor(digest)).item() != digest * self.world:
                raise ValueError('every process must be given the same images; leave out the distributed sampler')

    def canvases(self, index: int, canvas: str) -> Tensor:
        """The canvases of one image, (cells, 3, side, side)."""
        side, picture = canvas_side(self.grid_size, self.patch_size, self.cell_size), self.pictures[index]
        if canvas == 'rolled':
            return rolled_canvases(cut_middle(picture, side), self.grid_size, self.cell_size)
        around = None
        if canvas == 'noise':
            noise = torch.randn(len(picture), side, side, generator=torch.Generator().manual_seed(index))
            patches = cut_middle(self.pictures, self.patch_size).transpose(0, 1).flatten(1)
            around = (noise * patches.std(1)[:, None, None] + patches.mean(1)[:, None, None]).to(picture.dtype)
        elif canvas == 'images':
            around = cut_middle(self.pictures[(index + len(self.pictures) // 2) % len(self.pictures)], side)
        return cell_canvases(cut_middle(picture, self.patch_size), around, self.grid_size, self.cell_size)

    def calibration(self) -> None:
        """Forwards for `calibrate_batch_norm`, the same in every process, of images and cells in random order.

        The variance of a batch must hold that between images: the batches are large, and not of one image's canvases.
        """
        cells = self.grid_size**2
        order = torch.randperm(min(64, len(self.pictures)) * cells, generator=torch.Generator().manual_seed(0))
        for batch in order.tensor_split(-(-len(order) // 72)):
            canvases = [self.canvases(index // cells, 'zeros')[index % cells] for index in batch.tolist()]
            self.pooled(torch.stack(canvases))

    @contextmanager
    def _hooks(self, layers: Iterable[str], action: Callable[[str, Tensor, Layout], None]) -> Iterator[None]:
        with ExitStack() as stack:
            for layer in layers:
                stack.enter_context(layer_hook(self.network, layer, partial(action, layer), **self.layout))
            yield

    def examine(self, layers: Sequence[str]) -> None:
        """Measure order, depth, channels and total strides of the layers, and refuse cells at several phases."""
        canvas = self.canvases(0, 'zeros')[:1].to(self.like)
        for layer in layers:
            check_layer(self.network, layer, canvas, self.call, **self.layout)
        operations: list[nn.Module] = []
        largest = 1  # of the maps so far, where patches are cut or merged by a reshape, which has no stride

        def of_map(places: int) -> int:
            side, map_side = canvas.shape[-1], isqrt(places)
            return side // map_side if places == map_side**2 > 1 and side % map_side == 0 else 1

        def ran(module: nn.Module, args: tuple, output: object) -> None:
            nonlocal largest
            operations.append(module)
            if (
                isinstance(output, Tensor)
                and output.ndim > 2
                and len(output) == 1
                and (dim := dim_of_type(module, output))
            ):
                largest = max(largest, of_map(output.numel() // output.shape[dim]))

        def note(layer: str, features: Tensor, layout: Layout) -> None:
            self.depth[layer], self.channels[layer] = len(operations), features.shape[layout.channel_dim]
            own = largest  # behind a pooling
            if features.ndim > 2:  # Maps, or the tokens of square ones; a single place is a global pool.
                own = of_map(features[0].numel() // self.channels[layer] - layout.prefix_tokens)
            self.strides[layer] = max(strides.of(features), own)

        with ExitStack() as counting:
            for module in self.network.modules():  # first, so that a layer counts its own operation
                if not any(True for _ in module.children()) and not isinstance(module, torch.jit.ScriptModule):
                    counting.enter_context(module.register_forward_hook(ran))
            with self._hooks(layers, note), TotalStride(canvas) as strides:
                try:
                    self.call(canvas)
                except Exception:  # Only what comes before the layers has to accept canvases.
                    if len(self.depth) < len(layers):
                        raise
        self.depth = {layer: done / max(len(operations), 1) for layer, done in self.depth.items()}
        for layer, stride in self.strides.items():
            if self.cell_size % stride:
                why = f'{stride} px, the total stride up to layer {layer!r}, so that all cells are at one stride phase'
                take = -(-self.cell_size // stride) * stride
                raise ValueError(f'cell_size must be a multiple of {why}; got {self.cell_size}: take {take}')

    def pooled(self, canvases: Tensor) -> dict[str, Tensor]:
        """Pooled features of every layer, (N, K); the network runs no further than the last."""
        found: dict[str, Tensor] = {}

        def record(layer: str, features: Tensor, layout: Layout) -> None:
            found[layer] = layout.pool(features).cpu()
            if len(found) == len(self.depth):
                raise _DoneError

        with self._hooks(self.depth, record), suppress(_DoneError):
            self.call(canvases.to(self.like))
        return found

    def features(self, canvas: str) -> dict[str, Tensor]:
        """Pooled features of every layer, (I, C, K), one forward per canvas for all layers."""
        number, cells = len(self.pictures), self.grid_size**2
        pooled: dict[str, Tensor] = {}
        own = torch.arange(self.rank, number, self.world).split(self.images_per_batch)
        for indices in own:
            canvases = torch.cat([self.canvases(index, canvas) for index in indices.tolist()])
            for layer, z in self.pooled(canvases).items():
                pooled.setdefault(layer, z.new_zeros(number, cells, z.shape[1]))
                pooled[layer][indices] = z.view(len(indices), cells, -1)
            self.forwards += 1
            if self.progress is not None:
                self.progress(self.forwards, self.passes * len(own))
        for layer in self.depth:
            if not all_reduce_sum_(pooled[layer]).isfinite().all():
                raise ValueError(f'layer {layer!r} gives features that are not finite')
        return pooled


def _figures(runs: list[_Found]) -> tuple[dict[str, Measure], dict[str, Curve]]:
    """Measures and curves of one network, or their means over several."""
    curves = {}
    for readout in READOUTS:
        points = zip(*(curve[readout] for _, curve in runs), strict=True)
        curves[readout] = tuple((each[0][0], *_over_seeds([p[1:] for p in each], 0.0, 100.0)) for each in points)
    measures = {part: _over_seeds([variance.shares[part] for variance, _ in runs]) for part in COMPONENTS}
    return measures | {readout: curve[-1][1:] for readout, curve in curves.items()}, curves


def _over_seeds(values: list[Measure], least: float = -inf, most: float = inf) -> Measure:
    """The mean over networks with its t interval, within bounds; of one network its own."""
    if len(values) == 1:
        return values[0]
    centres = torch.tensor([value for value, _, _ in values], dtype=torch.float64)
    return t_interval(centres, least, most)
