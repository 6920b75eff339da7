"""Consistency under shifts of any classifier: how often two shifted views of an image get the same label (Sec. 4.1)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, IterableDataset, SequentialSampler

from mmposenc.batches import Unpack, all_reduce_sum_, evaluating, processes, read_batches, read_logits
from mmposenc.layers import Forward
from mmposenc.results import Result
from mmposenc.shifts.protocols import ShiftedViews


@dataclass(frozen=True, eq=False)
class ConsistencyCard(Result):
    """Top-1 and consistency under shifts, by protocol and N (Cons.N of Table 2).

    Of each image, let y be the label, r the reference prediction, and a and b the predictions of a protocol's two views
    (a is r in the `_ref` protocols). Top-1 is the share of images with r = y, and consistency the share with a = b.
    Consistency among correct is the share with b = y among the images with a = y; NaN if there are none.

    Attributes:
        images, correct: Number of images, and how many have r = y.
        protocols, max_shifts: Of each figure, a name from `PROTOCOLS`, and N in px; None for 'crop_pair'.
        counts: Images with a = b, with a = y, and with a = b = y, (figures, 3), int64.
        crop_size: Side in px of what the model saw; None for whole images.
    """

    FORMAT: ClassVar[str] = 'mmposenc.consistency/1'

    images: int
    correct: int
    protocols: tuple[str, ...]
    max_shifts: tuple[int | None, ...]
    counts: Tensor
    seed: int = 0
    crop_size: int | None = None

    @property
    def top1(self) -> float:
        """Accuracy in percent."""
        return 100 * self.correct / self.images

    def table(self) -> list[dict[str, Any]]:
        """One row per protocol and N, in percent, each share with the ends of its 95% interval (Wilson's)."""
        from scipy.stats import binomtest

        rows = []
        for protocol, max_shift, counts in zip(self.protocols, self.max_shifts, self.counts.tolist(), strict=True):
            same, first, both = counts
            row: dict[str, Any] = {'protocol': protocol, 'max_shift': max_shift, 'images': self.images}
            shares = {'top1': (self.correct, self.images), 'consistency': (same, self.images)}
            for name, (successes, trials) in {**shares, 'consistency_correct': (both, first)}.items():
                row |= {name: float('nan'), f'{name}_low': 0.0, f'{name}_high': 100.0}
                if trials:
                    interval = binomtest(successes, trials).proportion_ci(method='wilson')
                    row[name] = 100 * successes / trials
                    row[f'{name}_low'], row[f'{name}_high'] = 100 * float(interval.low), 100 * float(interval.high)
            rows.append(row)
        return rows

    def plot(self) -> Any:
        """Draw the consistencies with their intervals: a matplotlib Figure."""
        from mmposenc.figures.results import draw_consistency

        return draw_consistency(self)


def shift_consistency(
    model: nn.Module,
    loader: Iterable[Any],
    max_shifts: Sequence[int] = (8,),
    protocols: Sequence[str] = ('zero_ref',),
    seed: int = 0,
    crop_size: int | None = None,
    unpack: Unpack | None = None,
    forward: Forward | None = None,
) -> ConsistencyCard:
    """Measure Top-1 and Cons.N of a classifier, several N and protocols in one pass (Sec. 4.1, Table 2).

    The shifts of an image follow from the seed and its position in the data set, so that two networks are compared on
    the same shifts. With `torch.distributed` initialised each process measures its share and all return the same card.

    Args:
        loader: Gives `(images, labels)` or dicts of them, in the order of the data set. Images are normalised, and all
            of one size.
        max_shifts: The N of Cons.N: largest shifts in px, each axis.
        protocols: Names from `PROTOCOLS`.
        crop_size: Side in px of what the model sees of larger images, which 'crop_pair' needs; Top-1 and the other
            protocols then use the center crop. None shows whole images.
        unpack: Returns `(images, labels)` of a batch of any other kind.
        forward: How the network takes images, default `model` itself.

    Example:
        >>> model = torchvision.models.resnet18(num_classes=10)
        >>> loader = [(torch.rand(4, 3, 32, 32), torch.arange(4))]
        >>> card = shift_consistency(model, loader, max_shifts=[4, 8], protocols=['zero_ref', 'roll_pair'])
        >>> [(row['protocol'], row['max_shift']) for row in card.table()]
        [('zero_ref', 4), ('zero_ref', 8), ('roll_pair', 4), ('roll_pair', 8)]
    """
    size = _ordered_size(loader)
    views = ShiftedViews(max_shifts, protocols, size, seed, crop_size)
    totals = torch.zeros(2 + 3 * len(views.keys), dtype=torch.int64)
    shapes = set()
    with torch.no_grad(), evaluating(model):
        for images, labels, position, step in read_batches(loader, unpack, model):
            shapes.add(tuple(images.shape[1:]))
            if len(shapes) > 1:
                raise ValueError(f'all images must have one size, got {sorted(shapes)}; resize and crop them')
            labels = _check_labels(labels, len(images))
            positions = position + step * torch.arange(len(images))
            predicted, _ = predict_views(model if forward is None else forward, views, images, positions, labels)
            totals += count_views(predicted, labels.to(images.device)).cpu()
    all_reduce_sum_(totals)
    if size is not None and int(totals[0]) != size:
        raise ValueError(f'every image must be seen once, got {int(totals[0])} of {size}; set drop_last=False')
    return make_card(views, totals)


def predict_views(
    score: Forward, views: ShiftedViews, images: Tensor, positions: Sequence[int] | Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Predict the labels of all views of a batch of normalised images at these positions in the data set.

    Returns labels (N, 1 + 2 figures): the reference, then the two views of each of `views.keys`; and the scores of the
    reference, (N, classes).
    """

    def predict(view: Tensor) -> tuple[Tensor, Tensor]:
        scores = read_logits(score(view))
        if scores.ndim != 2 or len(scores) != len(images) or scores.shape[1] < 2:
            got = f'{tuple(scores.shape)}; add a classification head'
            raise ValueError(f'the model must give scores ({len(images)}, classes) of two or more classes, got {got}')
        # arg max would take NaN for the largest.
        return scores, scores.argmax(1).masked_fill(scores.isnan().any(1), -1)

    scores, reference = predict(views.reference(images).clone())  # A network may write into it.
    low, high, last = int(labels.min()), int(labels.max()), scores.shape[1] - 1
    if low < 0 or high > last:
        raise ValueError(f'labels must be from 0 to {last}, the classes of the model, got {low} to {high}')
    columns = [reference]
    for key in views.keys:
        shifted = [predict(view)[1] for view in views.shifted(key, images, positions)]
        columns += shifted if len(shifted) == 2 else [reference, *shifted]
    predicted = torch.stack(columns, dim=1)
    if invalid := int((predicted < 0).any(1).sum()):
        raise ValueError(f'the scores must be numbers, got NaN for {invalid} of {len(images)} images')
    return predicted, scores


def count_views(predicted: Tensor, labels: Tensor) -> Tensor:
    """Count images, correct ones, and per figure those with a = b, a = y, a = b = y: int64 (2 + 3 figures,)."""
    reference, first, second = predicted[:, 0], predicted[:, 1::2], predicted[:, 2::2]
    same, correct = first == second, first == labels[:, None]
    counts = torch.stack((same, correct, same & correct), dim=-1).sum(0)
    images = torch.tensor([len(labels)], device=labels.device)
    return torch.cat((images, (reference == labels).sum()[None], counts.flatten()))


def make_card(views: ShiftedViews, totals: Tensor) -> ConsistencyCard:
    """The card of counts that `count_views` gave."""
    images, correct = totals[:2].tolist()
    protocols, max_shifts = zip(*views.figures.values(), strict=True)
    return ConsistencyCard(images, correct, protocols, max_shifts, totals[2:].view(-1, 3), views.seed, views.crop_size)


def _check_labels(labels: Any, number: int) -> Tensor:
    labels = torch.as_tensor(labels) if isinstance(labels, (list, tuple)) else labels
    if isinstance(labels, Tensor) and labels.shape == (number,) and not labels.is_floating_point():
        return labels.long()
    got = f'{labels.dtype} {tuple(labels.shape)}' if isinstance(labels, Tensor) else type(labels).__name__
    raise ValueError(f'every image needs a class number: labels ({number},) of integers, got {got}')


def _ordered_size(loader: Iterable[Any]) -> int | None:
    """The number of images if it is known; refuses a loader that gives them in another order than the data set's."""
    several = processes()[1] > 1
    given: Any = loader
    if isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset):
        plain = type(loader.batch_sampler) in (BatchSampler, type(None))
        given = loader.sampler if plain else loader.batch_sampler
        if isinstance(given, SequentialSampler) or (isinstance(given, DistributedSampler) and not given.shuffle):
            return None if loader.batch_sampler is None else len(loader.dataset)  # type: ignore[arg-type]
    elif not several:
        return None
    rule = 'the shifts of an image follow from its position in the data set'
    advice = 'give a DataLoader with shuffle=False' + ', and a DistributedSampler for several processes' * several
    raise ValueError(f'{rule}: {advice}, got {type(given).__name__}')
