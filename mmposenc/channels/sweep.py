"""Sweeps over the number of ablated channels, in plain PyTorch (Sec. 4.2.2 and 4.2.3, Fig. 4 and 6)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn

from mmposenc.batches import Unpack, evaluating, processes, read_batches, read_logits
from mmposenc.channels.rank import rank_channels
from mmposenc.channels.sweep_plan import Metric, Rates, SweepPlan, Top1, known_activation, name_rankings
from mmposenc.channels.sweep_result import Sweep, SweepCurve
from mmposenc.channels.variants import PlanForwards
from mmposenc.layers import Forward, check_layer, unwrap_model
from mmposenc.ranking import Ranking, model_fingerprint

__all__ = ['Metric', 'Rates', 'Sweep', 'SweepCurve', 'SweepPlan', 'Top1', 'sweep_channels']


@torch.no_grad()
def sweep_channels(
    model: nn.Module,
    loader: Iterable,
    rankings: Ranking | Sequence[Ranking] | Mapping[str, Ranking],
    num_channels: Iterable[int] = (),
    metric: Any = 'top1',
    *,
    finish: Callable[[Tensor], Mapping[str, Tensor]] | None = None,
    layers: Sequence[str] | None = None,
    window: int = 0,
    num_random: int = 39,
    num_matched: int | None = None,
    activation: Mapping[str, Sequence[float]] | None = None,
    memory: float = 1024,
    reuse: bool = True,
    forward: Forward | None = None,
    unpack: Unpack | None = None,
    channel_dim: int | None = None,
    prefix_tokens: int | None = None,
    allow_other_weights: bool = False,
    say: Callable[[str], None] | None = None,
) -> Sweep:
    """Measure a network with more and more channels ablated, for rankings and for random orders (Sec. 4.2.2, Fig. 4).

    What the variants of one layer have in common is computed once per batch; see `VariantForwards`. With
    `torch.distributed` initialised each process sweeps its share of the images, and all return the same.

    Args:
        model: Any network.
        loader: Gives batches of images and targets, see `mmposenc.batches.read_batch`.
        rankings: One or more, by name in a dict.
        num_channels, layers, window: See `SweepPlan`.
        metric: 'top1', 'miou', an object as `Metric` describes it, or a function `(outputs, targets)` that gives sums
            of each image (N, ...), with `finish` beside it.
        finish: Turns such sums into figures in %, by name; harm is the loss of the first.
        num_random: Number of random orders, the first null; at least 19 for a test against chance.
        num_matched: Number of random orders of the same mean activation as each ranking, the second null. Default:
            `num_random`.
        activation: Mean activation of the channels by layer. Default: from a 'mean_activation' ranking of the layer
            among the rankings, or measured in a pass of its own.
        memory: MiB for the variants that are held at once.
        reuse: Compute what comes before the layer once per batch.
        forward: How the network takes images. Default: `model` itself.
        unpack: Gives `(images, targets)` of a batch.
        channel_dim, prefix_tokens: See `mmposenc.layers.layer_hook`.
        allow_other_weights: Accept rankings of other weights.
        say: Gets a line on what is shared at each layer. Default: the log of 'mmposenc'.

    ValueError if a ranking does not fit the model, an argument is out of range, or the loader is empty.

    Example:
        >>> model = torchvision.models.resnet18().eval()
        >>> loader = [(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3]))]
        >>> ranking = rank_channels(model, loader, 'layer4')
        >>> sweep = sweep_channels(model, loader, [ranking], num_channels=range(0, 513, 128), num_random=19)
        >>> sweep.claims()[0]['ranking']
        'flip_image-abs'
    """
    named = name_rankings(rankings)
    num_matched = num_random if num_matched is None else num_matched
    inner = unwrap_model(model)
    for ranking in named.values():
        ranking.check_model(inner, allow_other_weights)
    layout: dict[str, Any] = dict(channel_dim=channel_dim, prefix_tokens=prefix_tokens)
    plan = SweepPlan(named, layers, num_channels, window, num_random)  # Before a pass over the data: it may be refused.
    if num_matched:
        strength = known_activation(plan, activation)
        of_data = dict(statistic='mean_activation', forward=forward, unpack=unpack, **layout)
        for layer in plan.layers:
            if layer not in strength:
                strength[layer] = rank_channels(model, loader, layer, **of_data).scores
                if (width := len(strength[layer])) != plan.total:
                    got = f'layer {layer!r} has {width} channels, but the rankings have {plan.total}'
                    raise ValueError(f'{got}: they are of another model or layer')
        plan = SweepPlan(named, layers, num_channels, window, num_random, num_matched, strength)
    measure = make_metric(metric, finish)
    forwards = PlanForwards(model, plan, memory=memory, reuse=reuse, say=say, **layout)
    call = forward or model
    parts: list[Tensor] = []
    places: list[int] = []
    with evaluating(model):
        for batch in read_batches(loader, unpack, model):
            images, targets = batch.images, batch.targets
            for layer in plan.layers if not parts else ():
                check_layer(model, layer, images[:1], forward, **layout)

            def scores(copies: int, images: Tensor = images) -> Tensor:
                return read_logits(call(images.repeat(copies, 1, 1, 1) if copies > 1 else images))

            for run, outputs in forwards.run(scores):
                counted = measure.count(outputs, targets).cpu()
                if run == 0:
                    if counted.shape[:1] != images.shape[:1]:
                        got = f'{tuple(counted.shape)} for {len(images)} images'
                        raise ValueError(f'the metric must give sums of each image, (N, ...), got {got}')
                    # Pixels of an image fit into 32 bits; what a metric of one's own adds up may not.
                    kind = torch.int32 if counted.dtype == torch.int64 and measure.name else counted.dtype
                    if kind.is_floating_point:  # numpy, which writes them, has no bfloat16.
                        kind = torch.promote_types(kind, torch.float32)
                    parts.append(torch.zeros(len(counted), plan.num_runs, *counted.shape[1:], dtype=kind))
                parts[-1][:, run] = counted
            places += [batch.position + batch.step * i for i in range(len(images))]
    counts = _gathered(torch.cat(parts) if parts else None, places)
    about = dict(model=type(inner).__name__, model_sha256=model_fingerprint(inner), num_images=len(counts))
    return Sweep(plan, counts, measure, {**about, 'versions': {'torch': str(torch.__version__)}})


def make_metric(metric: Any, finish: Callable | None = None) -> Metric:
    """The metric of a name, or that of two functions; a metric is returned as it is."""
    if isinstance(metric, str):
        from mmposenc import named_metric

        return named_metric(metric)
    if hasattr(metric, 'count') and hasattr(metric, 'finish'):
        return metric
    if callable(metric) and callable(finish):
        unnamed = dict(name='', regions=('overall',), harm_of='', document=dict)
        return cast(Metric, SimpleNamespace(count=metric, finish=finish, **unnamed))
    kinds = 'a name, an object with count and finish, or a function with finish= beside it'
    raise TypeError(f'metric must be {kinds}, got {type(metric).__name__}')


def _gathered(counts: Tensor | None, places: list[int]) -> Tensor:
    """The sums of all processes, in the order of the images."""
    shares = [(counts, places)] * processes()[1]
    if len(shares) > 1:
        distributed.all_gather_object(shares, (counts, places))
    parts = [counts for counts, _ in shares if counts is not None]
    if not parts:
        raise ValueError('the loader gave no batch, so there is nothing to sweep')
    order = torch.tensor([place for _, places in shares for place in places]).argsort()
    return torch.cat(parts)[order]
