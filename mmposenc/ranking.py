"""Rankings of a layer's channels, and the file they are kept in (Sec. 4.2.1)."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from reprlib import repr as short
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mmposenc.layers import find_module, split_layer, unwrap_model
from mmposenc.results import Result

STATISTICS = ('abs', 'signed', 'relative', 'centred', 'mean_activation')
"""What a score of a ranking by pairs measures; `mmposenc.channels.PairedSums.scores` has the formulas."""

PAIR_NAMES = (
    'flip_image',
    'flip_image_vertical',
    'roll_image',
    'roll_image_vertical',
    'flip_kernels',
    'flip_image_flipped_kernels',
)
"""The pairs of forwards that scores compare; `mmposenc.channels.PAIRS` says what each does."""


@dataclass(frozen=True, kw_only=True)
class Ranking(Result):
    """Scores of a layer's channels and their order, highest first (Sec. 4.2.1, Eq. 2 and 3).

    Args:
        layer: Dotted module path, with [i] behind it where the module gives a tuple.
        statistic: What the scores are: one of `STATISTICS`, or any other name, such as 'position' of `probe_location`.
        pair: One of `PAIR_NAMES`, or 'none' where the statistic compares no forwards.
        scores: C finite scores in channel order.
        num_images: Images the scores are means over; 0 if there are none.
        region: Where the objects of the images are: 'overall', 'left', or any other name.
        order: All C channels, highest score first. Default: by score, equal scores in channel order.
        reliability: Spearman correlation between the scores of the even and of the odd images; None if not known.
        model_sha256, checkpoint_sha256: `model_fingerprint` of the weights and `file_sha256` of the checkpoint, or ''.
        model, data_set, versions: Names of model, images and software, for the reader.

    ValueError if an entry is not such.
    """

    FORMAT: ClassVar[str] = 'mmposenc.ranking/1'
    OBSOLETE: ClassVar[tuple[str, ...]] = ('num_channels',)

    layer: str
    statistic: str
    pair: str
    scores: Sequence[float]
    num_images: int
    region: str = 'overall'
    order: Sequence[int] = ()
    reliability: float | None = None
    model: str = ''
    model_sha256: str = ''
    checkpoint_sha256: str = ''
    data_set: str = ''
    versions: Mapping[str, str] = field(default_factory=lambda: {'torch': str(torch.__version__)}, hash=False)

    def __post_init__(self) -> None:
        split_layer(self.layer)
        if self.pair not in (*PAIR_NAMES, 'none'):
            raise ValueError(f'pair must be one of {", ".join(PAIR_NAMES)}, or "none", got {short(self.pair)}')
        if not self.region or not self.statistic:
            raise ValueError(f'statistic and region must have names, got {self.statistic!r} and {self.region!r}')
        scores: tuple[float, ...] = ()
        with suppress(TypeError, ValueError, OverflowError):
            scores = tuple(map(float, self.scores))
        if not scores or not all(map(math.isfinite, scores)):
            raise ValueError(f'scores must be a list of C finite numbers, got {short(self.scores)}')
        by_score = sorted(range(len(scores)), key=lambda channel: -scores[channel])
        order = _permutation(self.order if len(self.order) else by_score, len(scores))
        vars(self).update(scores=scores, order=order, num_images=index(self.num_images), versions=dict(self.versions))

    @property
    def num_channels(self) -> int:
        return len(self.scores)

    def table(self) -> list[dict[str, Any]]:
        """One row per channel, in the order of the ranking: rank, channel, score."""
        return [dict(rank=rank, channel=channel, score=self.scores[channel]) for rank, channel in enumerate(self.order)]

    def plot(self) -> Any:
        """The scores over the ranks, as a matplotlib Figure."""
        from mmposenc.figures.results import draw_ranking

        return draw_ranking(self)

    def check_model(self, model: nn.Module, allow_other_weights: bool = False) -> None:
        """Refuse a model that lacks the layer or has other weights than the ranking was made from."""
        find_module(model, self.layer)
        if self.model_sha256 and not allow_other_weights and self.model_sha256 != (got := model_fingerprint(model)):
            prints = f'{self.model or "its model"} has the fingerprint {self.model_sha256[:12]}, the model {got[:12]}'
            advice = "load the ranking's checkpoint, rank this model, or pass allow_other_weights=True"
            raise ValueError(f'the ranking was made from other weights: {prints}: {advice}')

    @classmethod
    def load(cls, path: str | os.PathLike) -> 'Ranking':
        """Read a file that `save` wrote, also that of version 0.1.0; ValueError if it is not a complete ranking."""
        if not Path(path).is_file():
            raise FileNotFoundError(f'there is no ranking file at {path}: make one with mmposenc rank')
        return super().load(path)

    @classmethod
    def from_permutenet(cls, path: str | os.PathLike, layer: str, region: str | None = None) -> 'Ranking':
        """Read a list of the released code, `{"overall": [channels, best first]}` (Sec. 4.2.1).

        The lists hold no scores or layer ('backbone[-1]' in that code): statistic is 'rank', and scores are C - rank.
        `region` is the list's key by default. Give it for the right-hand list, whose key is 'left'.
        """
        try:
            ((key, listed),) = json.loads(Path(path).read_bytes()).items()
            order = _permutation(listed, len(listed) if isinstance(listed, list) else 0)
        except (ValueError, AttributeError) as error:
            form = 'a list of the released code, a JSON object such as {"overall": [2, 0, 1]}'
            raise ValueError(f'{path} is not {form}: {error}') from None
        scores = (len(order) - np.argsort(order)).tolist()
        region = key if region is None else region
        return cls(layer=layer, statistic='rank', pair='none', scores=scores, num_images=0, region=region, order=order)


def _permutation(order: Sequence[int], total: int) -> tuple[int, ...]:
    with suppress(TypeError):
        channels = tuple(map(index, order))
        if channels and sorted(channels) == list(range(total)):
            return channels
    last = max(total - 1, 0)
    raise ValueError(f'order must be a list that holds each channel from 0 to {last} once, got {short(order)}')


def model_fingerprint(module: nn.Module) -> str:
    """SHA-256 of the state dict, the same on every device, in every memory format, and if compiled or wrapped."""
    state = {name.replace('_orig_mod.', ''): tensor for name, tensor in unwrap_model(module).state_dict().items()}
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if isinstance(tensor, Tensor):
            digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
            # As bytes, which every dtype has: numpy knows no bfloat16.
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file such as a checkpoint."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
