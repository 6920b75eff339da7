"""The classifier that AugShift trains (Sec. 4.1, Fig. 2)."""

import warnings
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from mmpretrain.models import ClsHead, DeiTClsHead, ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmposenc.registry import MODELS
from mmposenc.shifts import AugShiftLoss

ONE_LABEL = 'AugShiftClassifier needs one label per image'
MODELS.register_module(module=AugShiftLoss)


@MODELS.register_module()
class AugShiftClassifier(ImageClassifier):
    """An image classifier trained on two views of each image (Sec. 4.1, Fig. 2); an ordinary one in testing.

    Both views go through the network in one concatenated forward, so batch normalisation sees both. z, the feature
    that Eq. 1 compares, is what the head's last layer takes (`head.pre_logits`): after global pooling, a vector; in a
    ViT, the class token. The two cross entropies are the head's own loss (`head.loss_module`), so that label smoothing
    and class weights stay. Other arguments are those of `ImageClassifier`.

    Args:
        head: Any head of mmpretrain that classifies one vector and leaves its loss to its `loss_module`. Distilled
            heads and heads with a margin do not.
        loss: Config of the loss. None is `AugShiftLoss` with its defaults.
        data_preprocessor: Of type `mmposenc.BatchPreprocessor` unless another is named.
        train_cfg: Batch augmentations that mix labels (Mixup, CutMix), as a config inherits them. They are dropped
            with a warning: Eq. 1 needs one label per image.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        loss: dict | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        train_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if data_preprocessor is None or isinstance(data_preprocessor, dict):  # mmpretrain's would stack the two views.
            data_preprocessor = {'type': 'mmposenc.BatchPreprocessor', **(data_preprocessor or {})}
            train_cfg = data_preprocessor.pop('batch_augments', None) or train_cfg
        elif getattr(data_preprocessor, 'batch_augments', None) is not None:
            raise ValueError(f'{ONE_LABEL}: leave batch_augments out of the preprocessor')
        if train_cfg:
            warnings.warn(f'{ONE_LABEL} and trains without the batch augmentations {train_cfg}', stacklevel=2)
        super().__init__(backbone, neck, head, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        kind = type(self.head)
        distilled = isinstance(self.head, DeiTClsHead) or getattr(self.head, 'distillation', False)
        own_loss = not issubclass(kind, ClsHead) or (kind.loss, kind._get_loss) != (ClsHead.loss, ClsHead._get_loss)
        if distilled or own_loss:
            need = 'needs a head that classifies one vector and has its loss in loss_module (not distilled, no margin)'
            options = "type='LinearClsHead' or 'VisionTransformerClsHead', num_classes=..., in_channels=..."
            got = f'{kind.__name__}; give head=dict(_delete_=True, {options})'
            raise ValueError(f'AugShiftClassifier {need}, got {got}')
        self.augshift_loss = MODELS.build(loss or {'type': 'mmposenc.AugShiftLoss'})

    def loss(self, inputs: list[Tensor], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Eq. 1 of two views, each (N, 3, H, W), and samples whose `gt_label`s, concatenated, are the N labels."""
        if isinstance(inputs, Tensor) or len(inputs) != 2:
            got = f'one tensor of shape {tuple(inputs.shape)}' if isinstance(inputs, Tensor) else f'{len(inputs)} views'
            advice = 'BatchTwoViews to train_transforms of the preprocessor, or MultiView(num_views=2) to the pipeline'
            raise ValueError(f'AugShiftClassifier trains on exactly two views of each image, got {got}; add {advice}')
        scores, pooled = self._classify(self.extract_feat(torch.cat(list(inputs))))
        labels = torch.cat([sample.gt_label for sample in data_samples]).to(scores.device)
        if len(labels) != len(inputs[0]):
            raise ValueError(f'{ONE_LABEL}, got {len(labels)} of {len(inputs[0])}')

        def criterion(scores: Tensor, labels: Tensor) -> Tensor:
            module = self.head.loss_module
            if getattr(module, 'use_sigmoid', False) or getattr(module, 'use_soft', False):
                labels = F.one_hot(labels, scores.shape[1]).to(scores)
            return module(scores, labels, avg_factor=len(scores))

        return self.augshift_loss(scores.chunk(2), pooled.chunk(2), labels, criterion)

    def _classify(self, features: Any) -> tuple[Tensor, Tensor]:
        """The scores, and the very tensor that the head's last layer took: a second call would drop other units out."""
        pooled = self.head.pre_logits(features)
        if not isinstance(pooled, Tensor) or pooled.ndim != 2:
            got = tuple(pooled.shape) if isinstance(pooled, Tensor) else type(pooled).__name__
            got = f"{got} in {type(self.head).__name__}; add a neck such as dict(type='GlobalAveragePooling')"
            raise ValueError(f'AugShiftClassifier compares pooled features of shape (N, C), got {got}')
        with patch.object(self.head, 'pre_logits', lambda _: pooled):
            return self.head(features), pooled
