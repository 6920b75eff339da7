"""Rankings of a layer's channels, and the file they are kept in (Sec. 4.2.1)."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from torch import nn

from .fingerprint import model_fingerprint
from .paired_sums import STATISTICS
from .pairs import PAIRS
from .pooled_features import find_module, split_layer
from .ranking_checks import check_descending, check_permutation, check_scores, scores_of_order, short

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
        pair: One of `PAIRS`, or 'none' where the statistic compares nothing.
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
        if self.pair not in PAIRS and not (self.pair == 'none' and self.statistic in _UNPAIRED):
            raise ValueError(
                f'pair must be one of {", ".join(PAIRS)}, or "none" with statistic {", ".join(_UNPAIRED)}; '
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
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f'.{target.name}.{os.getpid()}.tmp')
        try:
            temporary.write_text(text + '\n', encoding='utf-8')
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

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
