"""Rankings of a layer's channels, and the file they are kept in (Sec. 4.2.1)."""

import ctypes
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from mmposenc.layers import find_module, split_layer
from mmposenc.results import atomic_write

STATISTICS = ('abs', 'signed', 'relative', 'centred', 'mean_activation')
"""What a score measures; `mmposenc.channels.PairedSums.scores` has the formulas."""

PAIR_NAMES = ('flip_image', 'flip_image_vertical', 'roll_image', 'flip_kernels', 'flip_image_flipped_kernels')
"""The pairs of forwards that scores compare; `mmposenc.channels.PAIRS` says what each does."""


FORMAT = 'mmposenc.ranking/1'
_UNMEASURED = ('random', 'rank')
_UNPAIRED = ('mean_activation', *_UNMEASURED)
_TEXTS = ('layer', 'statistic', 'pair', 'region', 'model', 'model_sha256', 'checkpoint_sha256', 'data_set')


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Scores of a layer's channels and their order, best first (Sec. 4.2.1, Eq. 2 and 3).

    The only thing that passes between ranking, ablation and sweeps. It is checked whenever it is made, so a `Ranking`
    that exists is a whole one.

    Args:
        layer: Dotted module path, with [i] behind it where the module gives a tuple.
        statistic: One of `STATISTICS`, 'random' (a seeded draw) or 'rank' (only the order is known; score C - rank).
        pair: One of `PAIR_NAMES`, or 'none' where the statistic compares nothing.
        region: Where the objects of the images are: 'overall', 'left', or any other name.
        num_images: Images the scores are means over; 0 only for 'random' and 'rank'.
        scores: C scores in channel order.
        order: All C channels, highest score first. Default: by score, equal scores in channel order.
        model: What the model is called, for the reader.
        model_sha256: `model_fingerprint` of the weights; '' if not known.
        checkpoint_sha256: `file_sha256` of the checkpoint; '' if not known.
        data_set: What the images were, or the seed of a random draw, for the reader.
        versions: Versions of the software, for the reader.

    Raises:
        ValueError: If an entry is not of its kind, a score is not finite, or the order is not one of the scores.
    """

    layer: str
    statistic: str
    pair: str
    scores: Sequence[float]
    num_images: int
    region: str = 'overall'
    order: Sequence[int] = ()
    model: str = ''
    model_sha256: str = ''
    checkpoint_sha256: str = ''
    data_set: str = ''
    versions: Mapping[str, str] = field(default_factory=lambda: {'torch': str(torch.__version__)}, hash=False)

    def __post_init__(self) -> None:
        self._check_conditions()
        scores = check_scores(self.scores)
        ranked = sorted(range(len(scores)), key=lambda channel: -scores[channel])
        order = check_permutation(self.order if self.order != () else ranked)
        if len(order) != len(scores):
            raise ValueError(f'order must hold as many channels as there are scores, {len(scores)}, got {len(order)}')
        check_descending(scores, order)
        object.__setattr__(self, 'scores', scores)
        object.__setattr__(self, 'order', order)
        object.__setattr__(self, 'versions', dict(self.versions))

    def _check_conditions(self) -> None:
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str):
                raise ValueError(f'{name} must be text, got {short(getattr(self, name))}')
        split_layer(self.layer)
        statistics = (*STATISTICS, *_UNMEASURED)
        if self.statistic not in statistics:
            raise ValueError(f'statistic must be one of {", ".join(statistics)}, got {short(self.statistic)}')
        if self.pair not in PAIR_NAMES and not (self.pair == 'none' and self.statistic in _UNPAIRED):
            raise ValueError(
                f'pair must be one of {", ".join(PAIR_NAMES)}, or "none" with statistic {", ".join(_UNPAIRED)}; '
                f'got {short(self.pair)} with statistic {self.statistic!r}'
            )
        if not self.region:
            raise ValueError('region must have a name such as "overall", got ""')
        least = 0 if self.statistic in _UNMEASURED else 1
        if type(self.num_images) is not int or self.num_images < least:
            raise ValueError(f'num_images must be an integer of at least {least}, got {short(self.num_images)}')
        if not isinstance(self.versions, Mapping) or not all(isinstance(v, str) for v in self.versions.values()):
            raise ValueError(f'versions must map names to text, got {short(self.versions)}')

    @property
    def num_channels(self) -> int:
        """C of the layer."""
        return len(self.scores)

    def check_model(self, model: nn.Module, allow_other_weights: bool = False) -> None:
        """Refuse a model that the ranking was not made from (ours).

        Args:
            allow_other_weights: Take a model that has the layer but other weights, e.g. to carry a ranking over from
                one training run to another. The layer's C is checked by `ablate_channels` when it runs.

        Raises:
            ValueError: If the layer is missing, or the weights are not those the ranking was made from.
        """
        find_module(model, self.layer)
        if self.model_sha256 and not allow_other_weights and self.model_sha256 != (got := model_fingerprint(model)):
            raise ValueError(
                f'the ranking was made from other weights: {self.model or "its model"} has the fingerprint '
                f'{self.model_sha256[:12]}, the model given {got[:12]}. Load the checkpoint the ranking was made from, '
                f'rank this one, or pass allow_other_weights=True'
            )

    def save(self, path: str | os.PathLike) -> None:
        """Write the ranking as JSON, to a temporary name first, so that no half file is ever seen (ours)."""
        text = json.dumps({'format': FORMAT, 'num_channels': self.num_channels, **asdict(self)}, allow_nan=False)
        atomic_write(path, text + '\n')

    @classmethod
    def load(cls, path: str | os.PathLike) -> 'Ranking':
        """Read a file that `save` wrote, and check all of it (ours).

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no ranking, or is truncated or inconsistent; the message says where.
        """
        document = _read_json(path)
        names = {item.name for item in fields(cls)} | {'format', 'num_channels'}
        try:
            if not isinstance(document, dict) or document.get('format') != FORMAT:
                raise ValueError(
                    f'it must be a JSON object with format {FORMAT!r} (from_permutenet reads released lists)'
                )
            if document.keys() != names:
                raise ValueError(
                    f'it lacks {sorted(names - document.keys())} or has too much: '
                    f'{short(sorted(document.keys() - names))}'
                )
            num_channels = document['num_channels']
            if type(num_channels) is not int:
                raise ValueError(f'num_channels must be an integer, got {short(num_channels)}')
            for name in ('scores', 'order'):
                if not isinstance(document[name], list) or len(document[name]) != num_channels:
                    raise ValueError(f'{name} must be a list of num_channels = {num_channels} numbers')
            return cls(**{name: value for name, value in document.items() if name not in ('format', 'num_channels')})
        except ValueError as error:
            raise ValueError(f'{path} is not a whole ranking file: {error}') from None

    @classmethod
    def from_permutenet(cls, path: str | os.PathLike, layer: str, region: str | None = None) -> 'Ranking':
        """Read a list of the released code, `{"overall": [channels, best first]}` (Sec. 4.2.1).

        The lists hold no scores, layer or data set, so statistic is 'rank' and the score of a channel is C - rank.

        Args:
            layer: Where the channels are; 'backbone[-1]' in the released code.
            region: What the list is for; default its key. To be given for the right-hand list, whose key is 'left'.
        """
        split_layer(layer)
        document = _read_json(path)
        try:
            if not isinstance(document, dict) or len(document) != 1:
                raise ValueError('it must be a JSON object with one key, such as {"overall": [...]}')
            ((key, listed),) = document.items()
            order = check_permutation(listed, key[:60])
            scores = scores_of_order(order)
            region = key if region is None else region
            return cls(
                layer=layer, statistic='rank', pair='none', scores=scores, num_images=0, region=region, order=order
            )
        except ValueError as error:
            raise ValueError(f'{path} is not a list of the released code: {error}') from None


def _read_json(path: str | os.PathLike) -> object:
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no ranking file at {path}: make one with tools/rank_channels.py')
    try:
        return json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not JSON, or is cut short: {error}. Make the ranking again') from None


def check_scores(scores: object) -> tuple[float, ...]:
    """The scores as floats, refused unless all are finite numbers (ours)."""
    if not isinstance(scores, (list, tuple)) or not scores:
        raise ValueError(f'scores must be a list of C numbers, got {short(scores)}')
    for channel, score in enumerate(scores):
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not _is_finite(score):
            raise ValueError(f'scores must be finite numbers, got {short(score)} for channel {channel}')
    return tuple(float(score) for score in scores)


def check_permutation(order: object, name: str = 'order') -> tuple[int, ...]:
    """The order as integers, refused unless it names each channel from 0 once (ours)."""
    if not isinstance(order, (list, tuple)) or not order:
        raise ValueError(f'{name} must be a list of channels, got {short(order)}')
    seen: set[int] = set()
    for rank, channel in enumerate(order):
        if type(channel) is not int or not 0 <= channel < len(order):
            raise ValueError(
                f'{name} must hold each channel from 0 to {len(order) - 1} once, got {short(channel)} at rank {rank}'
            )
        if channel in seen:
            raise ValueError(f'{name} must hold each channel once, but channel {channel} is repeated at rank {rank}')
        seen.add(channel)
    return tuple(order)


def check_descending(scores: Sequence[float], order: Sequence[int]) -> None:
    """Refuse an order that does not put high scores first (ours)."""
    for rank in range(1, len(order)):
        worse, better = order[rank], order[rank - 1]
        if scores[worse] > scores[better]:
            raise ValueError(
                f'order must put high scores first, but channel {worse} at rank {rank} scores {scores[worse]} '
                f'and channel {better} before it {scores[better]}'
            )


def scores_of_order(order: Sequence[int]) -> tuple[float, ...]:
    """Scores C - rank in channel order, for an order that comes without scores (ours)."""
    ranks = {channel: rank for rank, channel in enumerate(order)}
    return tuple(float(len(order) - ranks[channel]) for channel in range(len(order)))


def short(value: object, limit: int = 60) -> str:
    """A value as it appears in an error message, cut to a readable length (ours)."""
    if isinstance(value, int) and abs(value) > 10**limit:
        return f'an integer of {value.bit_length()} bits'
    text = repr(value[:limit]) if isinstance(value, (str, list, tuple)) else repr(value)
    return text if len(text) <= limit else f'{text[:limit]}...'


def _is_finite(score: float) -> bool:
    try:
        return math.isfinite(score)
    except OverflowError:
        return False


def model_fingerprint(module: nn.Module) -> str:
    """SHA-256 of the state dict: names in sorted order, with type, shape and bytes of each tensor (ours).

    The same on every device and for every memory format.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
            _add_bytes(digest, tensor)
    return digest.hexdigest()


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file such as a checkpoint (ours)."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no file at {path}: give the path of a checkpoint')
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _add_bytes(digest: 'hashlib._Hash', tensor: Tensor) -> None:
    # A view of the memory itself: no copy, and no need for numpy.
    dense = tensor.detach().cpu().contiguous()
    if dense.numel():
        digest.update((ctypes.c_char * (dense.numel() * dense.element_size())).from_address(dense.data_ptr()))
