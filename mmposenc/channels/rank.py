"""Ranking a network's channels: running sums over pairs of forwards, and the scores read from them (Sec. 4.2.1)."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmposenc.batches import Unpack, all_reduce_sum_, evaluating, read_batches
from mmposenc.channels.pairs import check_pairs, pooled_pairs
from mmposenc.layers import Forward, check_layer, unwrap_model
from mmposenc.ranking import STATISTICS, Ranking, model_fingerprint


class PairedSums:
    """Five running sums per channel, which hold every score of one pass (Sec. 4.2.1, Eq. 2 and 3).

    Attributes:
        state: float64 (2, 5, C): sums of |z1 - z2|, z1 - z2, z1, (|z1| + |z2|) / 2, and the number of images; over all
            images, and over every second one. States add up over processes and parts of a data set. Kept on the
            features' device, or on the CPU where a device has no float64 (MPS).
    """

    def __init__(self, num_channels: int, device: torch.device | str = 'cpu') -> None:
        device = 'cpu' if torch.device(device).type == 'mps' else device
        self.state = torch.zeros(2, 5, num_channels, dtype=torch.float64, device=device)

    @property
    def num_channels(self) -> int:
        return self.state.shape[-1]

    @property
    def num_images(self) -> int:
        """Number of pairs added so far; reading it waits for the device."""
        return int(self.state[0, -1, 0])

    def update(self, first: Tensor, second: Tensor, position: int = 0, step: int = 1) -> None:
        """Add the pooled features of a batch of pairs, each (N, C), without waiting for the device.

        `position` of the first image in the data set and `step` to the next tell odd images from even.
        """
        if first.shape != second.shape or first.ndim != 2 or first.shape[1] != self.num_channels:
            got = f'{tuple(first.shape)} and {tuple(second.shape)}'
            raise ValueError(f'both members of a pair must be (N, {self.num_channels}), got {got}')
        first, second = (member.to(self.state.device).to(self.state.dtype) for member in (first, second))
        difference = first - second
        magnitude = (first.abs() + second.abs()) / 2
        figures = torch.stack([difference.abs(), difference, first, magnitude, torch.ones_like(first)])
        self.state[0] += figures.sum(1)
        self.state[1] += figures[:, [(position + step * i) % 2 == 1 for i in range(len(first))]].sum(1)

    def scores(self, statistic: str = 'abs', reference: Tensor | Sequence[float] | None = None) -> Tensor:
        """One score per channel; with means over the n pairs seen (Sec. 4.2.1, Eq. 2 and 3).

        - `abs`: mean |z1 - z2|, Eq. 2.
        - `signed`: mean (z1 - z2), Eq. 3; high for the channels of the side on which the objects of all images are.
        - `relative`: mean |z1 - z2| / mean ((|z1| + |z2|) / 2), from 0 to 2; 0 for a channel that is always 0.
        - `centred`: Eq. 3 minus `reference`, the `signed` scores of the whole data set. A kernel that responds to
          handedness and not to place has the same mean (z1 - z2) everywhere, and so drops out.
        - `mean_activation`: mean z1, a control.

        Returns float64 (C,) on the CPU; ValueError if no pair was added, or a feature was NaN or infinite.
        """
        check_statistic(statistic, reference is not None)
        if self.num_images == 0:
            raise ValueError('no image was seen: the data set or the subset is empty, so there is nothing to rank')
        if broken := (~self.state[0].isfinite()).any(0).nonzero().flatten().tolist():
            what = f'{len(broken)} of {self.num_channels} channels gave NaN or infinite activations'
            raise ValueError(f'{what} (the first is channel {broken[0]}): check the checkpoint and the precision')
        return _scores(self.state[0], statistic, reference)

    def reliability(self, statistic: str = 'abs', reference: Tensor | Sequence[float] | None = None) -> float | None:
        """Spearman correlation between the scores of the even and of the odd images; None if it is not defined."""
        from scipy.stats import spearmanr

        if self.num_images < 2 or not self.state.isfinite().all():
            return None
        odd, even = self.state[1], self.state[0] - self.state[1]
        halves = [_scores(half, statistic, reference).numpy() for half in (even, odd)]
        if any((scores == scores[0]).all() for scores in halves):
            return None
        correlation = float(spearmanr(*halves).statistic)
        return correlation if math.isfinite(correlation) else None


def _scores(state: Tensor, statistic: str, reference: Tensor | Sequence[float] | None) -> Tensor:
    absolute, signed, first, magnitude, _ = (state / state[-1]).cpu()
    if statistic == 'relative':
        return torch.where(magnitude > 0, absolute / magnitude, 0.0)
    if statistic == 'centred':
        baseline = torch.as_tensor(reference, dtype=torch.float64).cpu()
        if baseline.shape != signed.shape:
            raise ValueError(f'reference must hold {len(signed)} scores, got shape {tuple(baseline.shape)}')
        return signed - baseline
    return {'abs': absolute, 'signed': signed, 'mean_activation': first}[statistic].clone()


def check_statistic(statistic: str, has_reference: bool) -> None:
    """Refuse an unknown statistic, 'centred' without its reference, and any other with one."""
    if statistic not in STATISTICS:
        raise ValueError(f'statistic must be one of {", ".join(STATISTICS)}, got {statistic!r}')
    if has_reference != (statistic == 'centred'):
        got = f'statistic {statistic!r} {"with" if has_reference else "without"} a reference'
        raise ValueError(f"'centred' alone needs, and takes, a reference, the signed scores of all images; got {got}")


def collect_sums(
    model: nn.Module,
    loader: Iterable,
    layer: str,
    pairs: Sequence[str] = ('flip_image',),
    forward: Forward | None = None,
    unpack: Unpack | None = None,
    channel_dim: int | None = None,
    prefix_tokens: int | None = None,
) -> dict[str, PairedSums]:
    """Running sums of several pairs in one pass; each gives every statistic (Sec. 4.2.1, Eq. 2 and 3).

    `pairs` are names in `mmposenc.channels.PAIRS`, and the other arguments those of `rank_channels`. The network runs
    in evaluation mode. With `torch.distributed` initialised every process gets the sums of all.
    """
    check_pairs(pairs)
    sums: dict[str, PairedSums] = {}
    with evaluating(model):
        for batch in read_batches(loader, unpack, model):
            if not sums:
                layout = dict(channel_dim=channel_dim, prefix_tokens=prefix_tokens)
                check_layer(model, layer, batch.images[:1], forward, **layout)
            pooled = pooled_pairs(model, layer, batch.images, pairs, forward, channel_dim, prefix_tokens)
            for pair, (first, second) in pooled.items():
                if pair not in sums:
                    sums[pair] = PairedSums(first.shape[1], first.device)
                sums[pair].update(first, second, batch.position, batch.step)
    if not sums:
        raise ValueError('this process got no images: start at most as many processes as there are images')
    for each in sums.values():
        all_reduce_sum_(each.state)
    return sums


def rank_channels(
    model: nn.Module,
    loader: Iterable,
    layer: str,
    pair: str = 'flip_image',
    statistic: str = 'abs',
    region: str = 'overall',
    reference: Ranking | None = None,
    forward: Forward | None = None,
    unpack: Unpack | None = None,
    channel_dim: int | None = None,
    prefix_tokens: int | None = None,
    data_set: str = '',
) -> Ranking:
    """Rank the channels of a layer by how much they depend on position (Sec. 4.2.1, Eq. 2 and 3).

    Two forwards per image, which end at the layer; the network runs in evaluation mode.

    Args:
        model: Any network; compiled and wrapped ones, too.
        loader: Batches of normalised images (N, 3, H, W), or what holds them (see `mmposenc.batches.read_batch`).
        layer, channel_dim, prefix_tokens: See `mmposenc.layers.layer_hook`.
        pair: One of `mmposenc.channels.PAIRS`.
        statistic: One of `mmposenc.channels.STATISTICS`; the defaults are Eq. 2, and 'signed' is Eq. 3.
        region: Name of the subset that the loader gives, such as 'left' for images with their objects on the left.
        reference: For 'centred', the 'signed' ranking of the whole data set by the same pair at the same layer.
        forward: How the network takes images, default `model` itself.
        unpack: Returns (images, targets) of a batch, for loaders of any other kind.
        data_set: What the images are, for the reader of the file.

    Example:
        >>> model = torchvision.models.resnet18()
        >>> ranking = rank_channels(model, [torch.rand(2, 3, 32, 32)], 'layer4')
        >>> ranking.num_channels, ranking.num_images
        (512, 2)
    """
    weights = model_fingerprint(model)
    check_reference(statistic, reference, pair, layer, weights)
    sums = collect_sums(model, loader, layer, [pair], forward, unpack, channel_dim, prefix_tokens)[pair]
    about = dict(model=type(unwrap_model(model)).__name__, model_sha256=weights, data_set=data_set)
    return make_ranking(sums, statistic, reference, pair=pair, layer=layer, region=region, **about)


def check_reference(statistic: str, reference: Ranking | None, pair: str, layer: str, model_sha256: str = '') -> None:
    """Refuse a reference that is not the signed ranking by the same pair at the same layer, of the same weights."""
    check_statistic(statistic, reference is not None)
    if reference is not None and (reference.statistic, reference.pair, reference.layer) != ('signed', pair, layer):
        got = f'{reference.statistic!r} by {reference.pair!r} at {reference.layer!r}'
        raise ValueError(f"reference must be a 'signed' ranking by {pair!r} at {layer!r}, got {got}")
    if reference is not None and model_sha256 and reference.model_sha256 not in ('', model_sha256):
        raise ValueError('reference was made from other weights: rank the whole data set with these first')


def make_ranking(sums: PairedSums, statistic: str, reference: Ranking | None, **about: Any) -> Ranking:
    """A ranking by sums; `about` are its other entries."""
    baseline = None if reference is None else reference.scores
    scores = sums.scores(statistic, baseline).tolist()
    about |= dict(num_images=sums.num_images, reliability=sums.reliability(statistic, baseline))
    return Ranking(statistic=statistic, scores=scores, **about)
