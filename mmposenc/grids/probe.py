"""Position in the pooled features of a frozen network (Sec. 3, for networks that were never trained for it)."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from scipy.special import stdtrit
from torch import Tensor, distributed, nn

from mmposenc.batches import all_reduce_sum_, evaluating, model_device, read_batch
from mmposenc.grids.canvas import CANVASES, cell_canvases, cut_middle, rolled_canvases
from mmposenc.grids.padding import PADDINGS, Padding, without_position_embedding
from mmposenc.grids.random_weights import calibrate_batch_norm, random_weights
from mmposenc.grids.readouts import READOUTS, Curve, read_cells
from mmposenc.grids.stride import TotalStride
from mmposenc.grids.variance import AXES, COMPONENTS, cell_contrasts, position_variance
from mmposenc.layers import Layout, check_layer, eager_forwards, layer_hook, unwrap_model
from mmposenc.ranking import Ranking, model_fingerprint
from mmposenc.results import Result

CONTROLS = (*PADDINGS, 'random', *CANVASES[1:])
"""What a network can be compared with; see `probe_location`."""
MEASURES = (*COMPONENTS[:3], *AXES[:4], *READOUTS)
"""The columns of `LocationProbe.table`, in %."""
ZERO = 1e-4
"""Largest share of position and interaction, in %, with which circular padding counts as the zero of the scale."""

Measure = tuple[float, float, float]


@dataclass(frozen=True)
class LocationProbe(Result):
    """Position in pooled features, by layer and control.

    Args:
        layers: The layers, in the order in which they run.
        depth: Layer to the share of the network's operations that are done when it has run, 0 to 1.
        channels: Layer to its number of channels K.
        strides: Layer to the total stride up to it, in px.
        measures: Layer to control to measure to (value, low, high), in %. The control 'none' is the network as it is.
        curves: Layer to control to read-out to points (training images, accuracy, low, high), in %.
        dead: Layer to control to the number of channels without variance, which no share includes.
        left_out: Layer to control to the reason why it is missing.
        codes: Layer to the cell means of the features, (C, K): the position code.
        position: Layer to the position variance of each channel, (K,), in squared units of the features.
        variance: Layer to the variance of each channel, (K,).
        grid_size: Cells per side.
        patch_size: Width of a patch in px.
        cell_size: Width of a cell in px.
        num_images: Images, each seen in every cell.
        model: Class of the network, or the name that was given.
        model_sha256: `model_fingerprint` of the weights.
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

        Each measure has columns with `_low` and `_high` behind its name, the ends of its 95% interval: by jackknife
        over images for shares, over test images for accuracies, over seeds for the control 'random'.
        """
        rows = []
        for layer in self.layers:
            for control, measures in self.measures[layer].items():
                row: dict[str, Any] = dict(layer=layer, depth=self.depth[layer], channels=self.channels[layer])
                row['control'] = control
                row |= {name: measures[name][0] for name in MEASURES}
                row['train_images'] = self.curves[layer][control]['order'][-1][0]
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
        """Rank the channels of a layer by position, for ablation and sweeps.

        Args:
            contrast: None ranks by the share of position in a channel's variance. 'left_right' or 'top_bottom' ranks by
                the linear contrast of the cell means over the channel's standard deviation: first the channels that
                answer most on the left (the top), last those that answer most on the right (the bottom).
                'vertical_even' and 'horizontal_even': first those that answer most in the middle rows (columns).

        Raises:
            ValueError: If the layer was not probed, or there is no such contrast.
        """
        self._check(layer)
        variance, live = self.variance[layer], self.variance[layer] > 1e-10 * self.variance[layer].median()
        if contrast is None:
            scores = self.position[layer] / variance
            scores = torch.where(live, scores, scores[live].min().clamp(max=0))
        else:
            if contrast not in AXES[:4]:
                raise ValueError(f'contrast must be one of {", ".join(AXES[:4])}, or None, got {contrast!r}')
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
    batch_size: int = 36,
    progress: Callable[[int, int], object] | None = None,
    name: str = '',
) -> LocationProbe:
    """Measure how much position the pooled features of a frozen network hold (Sec. 3).

    The middle of each image is put into every cell of an n x n canvas of zeros (the mean colour of normalised images),
    and the network runs once per canvas for all layers. Three things are measured on the pooled features of each layer:
    the share of their variance that the cell explains (`position_variance`: position, content, interaction, and
    position by axis), the accuracy with which the cell is predicted from them (`read_cells`), and the position code,
    their mean in each cell. Without training; the same every time.

    An isolated patch on an empty canvas is the paper's setting; in full natural images ('rolled') the share is much
    smaller. State both.

    Args:
        images: At least 8 normalised images (I, 3, H, W), or a loader of them. Their middle is cut out.
        layers: Dotted module paths, with [i] behind them where the module gives a tuple.
        grid_size: Cells per side.
        patch_size: Width of the patch in px.
        cell_size: Width of a cell in px, a multiple of the total stride up to the last layer, since otherwise the
            stride phase of the patch would tell its cell. None takes the patch's.
        controls: Any of
            'circular': every convolution and pool pads circularly, learned absolute position embeddings are zero. Then
            position and interaction are 0 and the read-outs `order`, `sorted` and `sum` at chance, exactly: the zero of
            the scale. A layer where they are not (windows, unpadded convolutions, TorchScript) is left out, see
            `left_out`;
            'reflect', 'replicate': that padding, same weights;
            'random': random weights, batch normalisation calibrated on up to 64 of the images in all cells, one network
            per seed;
            'noise', 'images', 'rolled': another canvas: Gaussian noise of the images' mean and deviation; another one
            of the images; the whole image, rolled by cells. The last two need images of the canvas' size.
        train_images: As in `read_cells`.
        build: For 'random', a function from a seed to a network of the same architecture with random weights. None
            re-initialises every module in place; the weights come back afterwards.
        seeds: Seeds of the random networks.
        unpack: Returns `(images, targets)` of a batch of the loader, if it is neither a tuple nor a dict.
        forward: How the network takes images, default `model` itself.
        channel_dim: Dimension of the channels, if the layout of a layer is not established (`mmposenc.layers`).
        prefix_tokens: Tokens that are no patches, likewise.
        batch_size: Canvases per forward, rounded to whole images.
        progress: Called with the numbers of forwards done and to do.
        name: What to call the network; default its class.

    Memory grows with images x cells x channels of the layers. With `torch.distributed` initialised the canvases are
    shared out: every process is given the same images and returns the same result.

    Raises:
        ValueError: If a layer does not exist, runs twice or has an unknown layout, the cells are not at one stride
            phase, the images are too few or too small, or an argument is out of range.

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
    side = grid_size * cell_size
    _check_arguments(layers, grid_size, patch_size, cell_size, controls, seeds, batch_size)
    pictures = _read_images(images, unpack, patch_size, side if {'images', 'rolled'} & set(controls) else patch_size)
    network = unwrap_model(model)
    call = forward or network
    with evaluating(model), torch.no_grad(), eager_forwards():
        run = _Run(call, network, pictures, grid_size, patch_size, cell_size, batch_size)
        run.examine(layers, channel_dim, prefix_tokens)
        conditions: list[tuple[str, int | None]] = [('none', None)]
        for control in dict.fromkeys(controls):
            conditions += [(control, seed) for seed in seeds] if control == 'random' else [(control, None)]
        run.progress, run.passes = progress, len(conditions)
        found: dict[str, dict[str, list[_Found]]] = {layer: {} for layer in run.layers}
        for control, seed in conditions:
            with _condition(network, control, seed, build, run):
                features = run.features(control if control in CANVASES else 'zeros')
            for layer in run.layers:
                z = features.pop(layer)
                found[layer].setdefault(control, []).append(_measure(layer, control, z, grid_size, train_images))
        return _result(run, found, name or type(network).__name__)


@dataclass(frozen=True)
class _Found:
    measures: dict[str, Measure]
    curves: dict[str, Curve]
    dead: int
    code: Tensor
    position: Tensor
    variance: Tensor


@contextmanager
def _condition(
    network: nn.Module, control: str, seed: int | None, build: Callable[[int], nn.Module] | None, run: '_Run'
) -> Iterator[None]:
    with ExitStack() as stack:
        if control in PADDINGS:
            stack.enter_context(Padding(control))
        if control == 'circular':
            stack.enter_context(without_position_embedding(network))
        if seed is not None:
            stack.enter_context(random_weights(network, seed, build))
            calibrate_batch_norm(network, run.calibration)
        yield


class _DoneError(Exception):
    """Ends a forward when the last layer has been recorded; never leaves this module."""


class _Run:
    """Canvases through the network, and the pooled features that the layers give."""

    def __init__(
        self,
        call: Callable[[Tensor], object],
        network: nn.Module,
        pictures: Tensor,
        grid_size: int,
        patch_size: int,
        cell_size: int,
        batch_size: int,
    ) -> None:
        self.call, self.network, self.pictures = call, network, pictures
        self.grid_size, self.patch_size, self.cell_size = grid_size, patch_size, cell_size
        self.images_per_batch = max(1, batch_size // grid_size**2)
        parameters = [p for p in network.parameters() if p.is_floating_point()]
        self.like = torch.empty(
            0, device=model_device(network), dtype=parameters[0].dtype if parameters else pictures.dtype
        )
        self.layouts: dict[str, Layout] = {}
        self.depth: dict[str, float] = {}
        self.strides: dict[str, int] = {}
        self.channels: dict[str, int] = {}
        self.progress: Callable[[int, int], object] | None = None
        self.passes, self._done = 1, 0
        shared = distributed.is_available() and distributed.is_initialized()
        self.rank, self.world = (distributed.get_rank(), distributed.get_world_size()) if shared else (0, 1)
        if self.world > 1:
            digest = int(hashlib.sha256(pictures.numpy().tobytes()).hexdigest()[:8], 16)
            if all_reduce_sum_(torch.tensor(digest)).item() != digest * self.world:
                raise ValueError('every process must be given the same images; leave out the distributed sampler')

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers in the order in which they run."""
        return tuple(self.layouts)

    def canvases(self, index: int, canvas: str) -> Tensor:
        """The canvases of one image, (cells, 3, side, side)."""
        side, picture = self.grid_size * self.cell_size, self.pictures[index]
        if canvas == 'rolled':
            return rolled_canvases(picture, self.grid_size, self.cell_size)
        around = None
        if canvas == 'noise':
            noise = torch.randn(len(picture), side, side, generator=torch.Generator().manual_seed(index))
            patches = cut_middle(self.pictures, self.patch_size).transpose(0, 1).flatten(1)
            around = (noise * patches.std(1)[:, None, None] + patches.mean(1)[:, None, None]).to(picture.dtype)
        elif canvas == 'images':
            around = cut_middle(self.pictures[(index + len(self.pictures) // 2) % len(self.pictures)], side)
        return cell_canvases(picture, around, self.grid_size, self.patch_size, self.cell_size)

    def forward(self, indices: Sequence[int], canvas: str) -> None:
        """Run the canvases of some images through the network."""
        self.call(torch.cat([self.canvases(index, canvas) for index in indices]).to(self.like))

    def calibration(self) -> None:
        """Forwards for `calibrate_batch_norm`, the same in every process."""
        for indices in torch.arange(min(64, len(self.pictures))).split(self.images_per_batch):
            self.forward(indices.tolist(), 'zeros')

    def examine(self, layers: Sequence[str], channel_dim: int | None, prefix_tokens: int | None) -> None:
        """Establish layouts, order, depth and total strides of the layers, and refuse cells at several phases."""
        canvas = self.canvases(0, 'zeros')[:1].to(self.like)
        for layer in layers:
            check_layer(self.network, layer, canvas, self.call, channel_dim, prefix_tokens)
        operations, places = 0, dict[str, int]()

        def count(module: nn.Module, args: tuple, output: object) -> None:
            nonlocal operations
            operations += 1

        def action(features: Tensor, layout: Layout, layer: str) -> None:
            self.layouts[layer], self.strides[layer] = layout, strides.of(features)
            places[layer] = operations
            self.channels[layer] = features.shape[layout.channel_dim]
            if features.ndim == 4:
                map_side = features.shape[3 if layout.channel_dim == 1 else 1]
                if canvas.shape[-1] % map_side == 0:
                    self.strides[layer] = max(self.strides[layer], canvas.shape[-1] // map_side)

        handles = [
            module.register_forward_hook(count)
            for module in self.network.modules()
            if not any(True for _ in module.children())
        ]
        try:
            with self._hooks(layers, action, channel_dim, prefix_tokens), TotalStride(canvas) as strides:
                self.call(canvas)
        finally:
            for handle in handles:
                handle.remove()
        self.depth = {layer: place / max(operations, 1) for layer, place in places.items()}
        for layer, stride in self.strides.items():
            if self.cell_size % stride:
                raise ValueError(
                    f'cell_size must be a multiple of {stride} px, the total stride up to layer {layer!r}, so that all '
                    f'cells are at one stride phase; got {self.cell_size}: take '
                    f'{-(-self.cell_size // stride) * stride}'
                )

    @contextmanager
    def _hooks(
        self,
        layers: Iterable[str],
        action: Callable[[Tensor, Layout, str], None],
        channel_dim: int | None = None,
        prefix_tokens: int | None = None,
    ) -> Iterator[None]:
        with ExitStack() as stack:
            for layer in layers:
                known = self.layouts.get(layer)
                dim, prefix = (
                    (known.channel_dim, known.prefix_tokens or None) if known else (channel_dim, prefix_tokens)
                )

                def named(features: Tensor, layout: Layout, layer: str = layer) -> None:
                    action(features, layout, layer)

                stack.enter_context(layer_hook(self.network, layer, named, dim, prefix))
            yield

    def features(self, canvas: str) -> dict[str, Tensor]:
        """Pooled features of every layer, (I, C, K), one forward per canvas for all layers."""
        number, cells = len(self.pictures), self.grid_size**2
        pooled: dict[str, Tensor] = {}
        recorded: dict[str, Tensor] = {}

        def action(features: Tensor, layout: Layout, layer: str) -> None:
            recorded[layer] = layout.pool(features).cpu()
            if len(recorded) == len(self.layers):
                raise _DoneError

        with self._hooks(self.layers, action):
            own = list(range(self.rank, number, self.world))
            for start in range(0, len(own), self.images_per_batch):
                indices = own[start : start + self.images_per_batch]
                recorded.clear()
                with suppress(_DoneError):
                    self.forward(indices, canvas)
                for layer, z in recorded.items():
                    if layer not in pooled:
                        pooled[layer] = z.new_zeros(number, cells, z.shape[1])
                    pooled[layer][indices] = z.view(len(indices), cells, -1)
                self._done += 1
                if self.progress is not None:
                    self.progress(self._done, self.passes * -(-len(own) // self.images_per_batch))
        for layer in self.layers:
            if not all_reduce_sum_(pooled[layer]).isfinite().all():
                raise ValueError(f'layer {layer!r} gives features that are not finite')
        return pooled


def _measure(layer: str, control: str, z: Tensor, grid_size: int, train_images: Sequence[int] | None) -> _Found:
    try:
        variance = position_variance(z, grid_size)
    except ValueError as error:
        raise ValueError(f'layer {layer!r} under control {control!r}: {error}') from None
    curves = read_cells(z, train_images)
    measures = {**variance.shares, **{name: curve[-1][1:] for name, curve in curves.items()}}
    code = z.double().mean(0).float()
    dead = int((~variance.live).sum())
    return _Found(measures, curves, dead, code, variance.components['position'], variance.total)


def _result(run: _Run, found: dict[str, dict[str, list[_Found]]], name: str) -> LocationProbe:
    left_out: dict[str, dict[str, str]] = {layer: {} for layer in found}
    for layer, controls in found.items():
        for circular in controls.pop('circular', []):
            shares = {part: circular.measures[part][0] for part in ('position', 'interaction')}
            if max(map(abs, shares.values())) > ZERO:
                left_out[layer]['circular'] = (
                    f'position is {shares["position"]:.2g}% and interaction {shares["interaction"]:.2g}% where both '
                    f'must be 0: the network computes something that is not invariant to moves of the image'
                )
            else:
                found[layer] = {'none': controls.pop('none'), 'circular': [circular], **controls}
    none = {layer: controls['none'][0] for layer, controls in found.items()}

    def each(value: Callable[[list[_Found]], Any]) -> dict[str, dict[str, Any]]:
        return {layer: {c: value(runs) for c, runs in controls.items()} for layer, controls in found.items()}

    return LocationProbe(
        layers=run.layers,
        depth=run.depth,
        channels=run.channels,
        strides=run.strides,
        measures=each(lambda runs: {m: _over_seeds([r.measures[m] for r in runs]) for m in runs[0].measures}),
        curves=each(_mean_curves),
        dead=each(lambda runs: max(r.dead for r in runs)),
        left_out=left_out,
        codes={layer: one.code for layer, one in none.items()},
        position={layer: one.position for layer, one in none.items()},
        variance={layer: one.variance for layer, one in none.items()},
        grid_size=run.grid_size,
        patch_size=run.patch_size,
        cell_size=run.cell_size,
        num_images=len(run.pictures),
        model=name,
        model_sha256=model_fingerprint(run.network),
    )


def _over_seeds(values: list[Measure]) -> Measure:
    """The mean over networks with its t interval; of one network its own."""
    if len(values) == 1:
        return values[0]
    centres = torch.tensor([value for value, _, _ in values], dtype=torch.float64)
    half = float(stdtrit(len(values) - 1, 0.975)) * centres.std().item() / len(values) ** 0.5
    return centres.mean().item(), centres.mean().item() - half, centres.mean().item() + half


def _mean_curves(runs: list[_Found]) -> dict[str, Curve]:
    return {
        readout: tuple(
            (points[0][0], *_over_seeds([point[1:] for point in points]))
            for points in zip(*(r.curves[readout] for r in runs), strict=True)
        )
        for readout in READOUTS
    }


def _check_arguments(
    layers: Sequence[str],
    grid_size: int,
    patch_size: int,
    cell_size: int,
    controls: Sequence[str],
    seeds: Sequence[int],
    batch_size: int,
) -> None:
    if isinstance(layers, str) or not layers or len(set(layers)) != len(layers):
        raise ValueError(f"layers must be a list of different layers such as ['layer3', 'layer4'], got {layers!r}")
    if grid_size < 2:
        raise ValueError(f'grid_size must be at least 2 cells per side, got {grid_size}')
    if not 1 <= patch_size <= cell_size:
        raise ValueError(f'patch_size must be from 1 px to the cell size, {cell_size} px, got {patch_size}')
    if isinstance(controls, str) or set(controls) - set(CONTROLS):
        raise ValueError(f'controls must be a list out of {", ".join(CONTROLS)}, got {controls!r}')
    if 'random' in controls and not len(seeds):
        raise ValueError('seeds must name at least one seed for the control random')
    if batch_size < 1:
        raise ValueError(f'batch_size must be at least 1 canvas, got {batch_size}')


def _read_images(images: Tensor | Iterable[Any], unpack: Any, patch_size: int, needed: int) -> Tensor:
    batches = (read_batch(batch, unpack)[0] for batch in ([images] if isinstance(images, Tensor) else images))
    cut = []
    for batch in batches:
        if min(batch.shape[-2:]) < needed:
            raise ValueError(
                f'images must be at least {needed}x{needed} px '
                f'({"the patch" if needed == patch_size else "the canvas of images and rolled"}), got '
                f'{batch.shape[-2]}x{batch.shape[-1]}: resize them, or give a smaller patch_size'
            )
        cut.append(cut_middle(batch, needed).detach().cpu())
    if not cut or sum(map(len, cut)) < 8:
        raise ValueError(f'the probe takes at least 8 images, got {sum(map(len, cut))}')
    return torch.cat(cut).contiguous()
