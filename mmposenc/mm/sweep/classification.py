"""What a sweep counts of a classifier."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmposenc.channels.sweep_metric import Rates
from mmposenc.channels.sweep_plan import SweepPlan
from mmposenc.channels.variants import VariantForwards
from mmposenc.layers import find_module
from mmposenc.shifts import ShiftedViews


class ClassificationSweep:
    """Top-1 and consistency under shifts of each run, image by image (the figures of Table 2, swept as in Sec. 4.2.2).

    Args:
        model: A classifier of mmpretrain, without wrappers, in evaluation mode.
        plan: What is swept.
        num_images: Length of the data set.
        max_shift: N of Cons.N by the protocol `zero_ref`, px; 0 leaves it out.
        level: '1': a forward for each variant; '2' or 'auto': they share what comes before the layer.
        memory: MiB for what is held of several variants at once; one variant is held in any case.
        say: Gets a line for each layer on what is shared, or why it is not.

    Raises:
        ValueError: If a layer does not exist, or the level is 3, which only segmentors have.
    """

    def __init__(
        self,
        model: Any,
        plan: SweepPlan,
        num_images: int,
        max_shift: int = 8,
        level: str = 'auto',
        memory: float = 1024,
        say: Callable[[str], None] = print,
    ) -> None:
        if level not in ('auto', '1', '2'):
            raise ValueError(f'level must be one of auto, 1, 2 for a classifier, got {level!r}')
        self.model, self.plan = model, plan
        self.views = ShiftedViews([max_shift], ['zero_ref'], num_images) if max_shift else None
        self.metric = Rates(['top1', *(self.views.keys if self.views else ())])
        self._checked = False
        for layer in plan.layers:
            find_module(model, layer)
        self.forwards = {
            layer: VariantForwards(model, layer, plan.total, memory, level != '1', say=say) for layer in plan.layers
        }

    @torch.no_grad()
    def count(self, data: dict, positions: Sequence[int]) -> Tensor:
        """Count one batch: (images, runs, figures + 1), see `Rates`.

        Args:
            data: What the data preprocessor gives.
            positions: Of the images in the data set, by which the shifts are drawn.
        """
        images, samples = data['inputs'], data['data_samples']
        if any('gt_label' not in sample for sample in samples):
            raise ValueError('a sweep needs labels, but a sample has no gt_label: use a data set with labels')
        labels = torch.cat([sample.gt_label for sample in samples]).to(images.device)
        reference = self._labels(images, samples)
        if not self._checked:
            self._check_predictions(images, samples, reference[0])
        hits = [reference == labels]
        if self.views is not None:
            (key,) = self.views.keys
            hits += [
                self._labels(shifted, samples) == reference for shifted in self.views.shifted(key, images, positions)
            ]
        return self.metric.count(torch.stack(hits, dim=-1).transpose(0, 1), None).cpu()

    def _labels(self, images: Tensor, samples: list[Any]) -> Tensor:
        """Predicted labels (runs, images)."""
        labels = torch.empty(self.plan.num_runs, len(images), dtype=torch.int64, device=images.device)

        def forward(copies: int) -> Tensor:
            return self.model(images.repeat(copies, 1, 1, 1), samples * copies, mode='tensor')

        def take(run: int, scores: Tensor) -> None:
            labels[run] = scores.argmax(1).masked_fill(scores.isnan().any(1), -1)

        take(0, forward(1))
        for layer, variants in self.forwards.items():
            for run, scores in variants.run(self.plan.orders_at([layer]), forward):
                take(run, scores)
        if (labels < 0).any():
            raise ValueError('the scores must be numbers, got NaN: check the checkpoint')
        return labels

    def _check_predictions(self, images: Tensor, samples: list[Any], labels: Tensor) -> None:
        """Refuse a model whose predictions are not the largest of its scores."""
        predicted = self.model(images, [sample.new() for sample in samples], mode='predict')
        if not all(int(sample.pred_label) == label for sample, label in zip(predicted, labels.tolist(), strict=True)):
            raise ValueError(
                f'{type(self.model).__name__} predicts other classes than those with the largest score of '
                "mode='tensor', so its Top-1 cannot be swept"
            )
        self._checked = True
