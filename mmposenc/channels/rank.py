"""Ranking a network's channels over a data set, in plain PyTorch (Sec. 4.2.1)."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from mmposenc.channels.pairs import check_pairs, pooled_pairs
from mmposenc.channels.sums import PairedSums, check_statistic
from mmposenc.layers import evaluating
from mmposenc.ranking import Ranking, model_fingerprint


def rank_channels(
    model: nn.Module,
    loader: Iterable,
    layer: str,
    pair: str = 'flip_image',
    statistic: str = 'abs',
    region: str = 'overall',
    reference: Ranking | None = None,
    forward: Callable[[Tensor], object] | None = None,
    data_set: str = '',
) -> Ranking:
    """Rank the channels of a layer by how much they answer to position (Sec. 4.2.1, Eq. 2 and 3).

    Two forwards per image, none further than the layer; the network is in evaluation mode meanwhile.

    Args:
        model: Any network.
        loader: Batches of images as the network takes them: (N, 3, H, W), or a list that starts with it, as data
            loaders give; a list of (3, H, W) images of one size is stacked.
        layer: Dotted module path, with [i] behind it where the module gives a tuple.
        pair: One of `PAIRS`.
        statistic: One of `STATISTICS`; the defaults are Eq. 2, and 'signed' is Eq. 3.
        region: Name of the subset that the loader gives, such as 'left' for images with their objects on the left.
        reference: For 'centred', the 'signed' ranking of the whole data set by the same pair at the same layer.
        forward: How the network takes images, default `model` itself.
        data_set: What the images are, for the reader of the file.

    Example:
        >>> ranking = rank_channels(model, loader, 'layer4')
        >>> ranking.save('ranking.json')
    """
    check_statistic(statistic, reference is not None)
    if reference is not None and (reference.statistic, reference.pair, reference.layer) != ('signed', pair, layer):
        raise ValueError(
            f"reference must be a 'signed' ranking by {pair!r} at {layer!r}, "
            f'got {reference.statistic!r} by {reference.pair!r} at {reference.layer!r}'
        )
    sums = collect_sums(model, loader, layer, [pair], forward)[pair]
    return Ranking(
        layer=layer,
        statistic=statistic,
        pair=pair,
        scores=sums.scores(statistic, None if reference is None else reference.scores).tolist(),
        num_images=sums.num_images,
        region=region,
        model=type(model).__name__,
        model_sha256=model_fingerprint(model),
        data_set=data_set,
    )


def collect_sums(
    model: nn.Module,
    loader: Iterable,
    layer: str,
    pairs: Sequence[str] = ('flip_image',),
    forward: Callable[[Tensor], object] | None = None,
) -> dict[str, PairedSums]:
    """Running sums of several pairs in one pass; each gives every statistic (Sec. 4.2.1, Eq. 2 and 3).

    Raises:
        ValueError: If the loader is empty, or a batch holds images of different sizes or integers.
    """
    check_pairs(pairs)
    sums: dict[str, PairedSums] = {}
    device = next((parameter.device for parameter in model.parameters()), None)
    with evaluating(model):
        for batch in loader:
            for pair, (first, second) in pooled_pairs(model, layer, _images(batch).to(device), pairs, forward).items():
                if pair not in sums:
                    sums[pair] = PairedSums(first.shape[1], first.device)
                sums[pair].update(first, second)
    if not sums:
        raise ValueError('the loader gave no batch: the data set or the subset is empty, so there is nothing to rank')
    return sums


def _images(batch: object) -> Tensor:
    images = batch
    if isinstance(batch, (list, tuple)) and batch:
        images = batch[0]
        if all(isinstance(image, Tensor) and image.ndim == 3 for image in batch):
            sizes = sorted({tuple(image.shape) for image in batch})
            if len(sizes) > 1:
                raise ValueError(
                    f'images of one batch must have one size, got {sizes}: use batch size 1 or resize them'
                )
            images = torch.stack(list(batch))
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        got = f'{images.dtype} {tuple(images.shape)}' if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f'a batch must be normalised images (N, 3, H, W) in floating point, or start with them, got {got}'
        )
    return images
