"""What a sweep counts of a classifier."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmposenc.channels.sweep import SweepPlan
from mmposenc.mm.sweep.forwards import run_forwards
from mmposenc.mm.sweep.levels import SweepLevel
from mmposenc.shifts import ShiftedViews


class ClassificationSweep:
    """Top-1 and consistency under shifts of each run, image by image (Sec. 4.2.2's sweep for Table 2's figures).

    Args:
        model: A classifier of mmpretrain, without wrappers, in evaluation mode.
        plan: What is swept.
        levels: By layer.
        num_images: Length of the data set.
        max_shift: N of Cons.N by the protocol `zero_ref`, px; 0 leaves it out.
    """

    def __init__(
        self, model: Any, plan: SweepPlan, levels: Mapping[str, SweepLevel], num_images: int, max_shift: int = 8
    ) -> None:
        self.model, self.plan, self.levels = model, plan, levels
        self.views = ShiftedViews([max_shift], ['zero_ref'], num_images) if max_shift else None
        self.keys = ['top1', *(self.views.keys if self.views else ())]

    @property
    def conditions(self) -> dict[str, Any]:
        """What the counts depend on besides the plan."""
        return dict(figures=self.keys, counts='images, runs, figures')

    @torch.no_grad()
    def count(self, data: dict, positions: Sequence[int]) -> Tensor:
        """Count one batch: int32 (images, runs, figures), 1 where the image counts for the figure.

        Args:
            data: What the data preprocessor gives.
            positions: Of the images in the data set, by which the shifts are drawn.
        """
        images, samples = data['inputs'], data['data_samples']
        if any('gt_label' not in sample for sample in samples or [{}]):
            raise ValueError('a sweep needs labels, but a sample has no gt_label: use a data set with labels')
        labels = torch.cat([sample.gt_label for sample in samples]).to(images.device)
        reference = self._labels(images, samples)
        hits = [reference == labels]
        if self.views is not None:
            (key,) = self.views.keys
            hits += [
                self._labels(shifted, samples) == reference for shifted in self.views.shifted(key, images, positions)
            ]
        return torch.stack(hits, dim=-1).transpose(0, 1).int().cpu()

    def _labels(self, images: Tensor, samples: Any) -> Tensor:
        """Predicted labels (runs, images)."""
        labels = torch.empty(self.plan.num_runs, len(images), dtype=torch.int64, device=images.device)

        def forward() -> Tensor:
            return self.model(images, samples, mode='tensor')

        def take(run: int, scores: Tensor) -> None:
            labels[run] = scores.argmax(1).masked_fill(scores.isnan().any(1), -1)

        run_forwards(self.model, self.plan, self.levels, forward, take)
        if (labels < 0).any():
            raise ValueError('the scores must be numbers, got NaN: check the checkpoint')
        return labels

    def tables(self, counts: Tensor) -> dict[str, tuple[list[str], list[list[Any]]]]:
        """Head and rows of each file.

        Args:
            counts: Of all images, (images, runs, figures).
        """
        figures = 100 * counts.sum(0).double() / len(counts)
        rows = []
        for variant in self.plan.variants:
            start = [variant.layer, variant.ranking, '' if variant.draw is None else variant.draw, variant.kind]
            start += [variant.start, variant.stop - variant.start, 'overall']
            rows.append([*start, *(f'{value:.6f}' for value in figures[variant.run].tolist())])
        head = ['layer', 'ranking', 'draw', 'kind', 'start', 'num_channels', 'region', *self.keys]
        return {'sweep.csv': (head, rows)}

    def summary(self, counts: Tensor) -> dict[str, float]:
        """The figures with no channel off."""
        return dict(zip(self.keys, (100 * counts[:, 0].double().mean(0)).tolist(), strict=True))
