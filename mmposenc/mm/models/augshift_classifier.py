"""The classifier that AugShift trains (Sec. 4.1, Fig. 2)."""

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmposenc.registry import MODELS


@MODELS.register_module()
class AugShiftClassifier(ImageClassifier):
    """An image classifier trained on two views of each image (Sec. 4.1, Fig. 2); an ordinary one in testing.

    Both views go through the network in one concatenated forward, so batch normalisation sees both. z, the feature
    that Eq. 1 compares, is what the head's last layer takes (`head.pre_logits`): after global pooling, a vector.
    Any mmpretrain backbone, pooling neck and linear head will do; the head's own loss is not used.

    Args:
        backbone: As in `ImageClassifier`.
        neck: As in `ImageClassifier`.
        head: As in `ImageClassifier`.
        loss: Config of the loss. None is `AugShiftLoss` with its defaults.
        data_preprocessor: As in `ImageClassifier`, but of type `mmposenc.BatchPreprocessor` unless another is named:
            mmpretrain's own would silently stack the two views into one tensor.
        train_cfg: As in `ImageClassifier`; batch augmentations that mix labels (Mixup, CutMix) cannot be used.
        init_cfg: As in `ImageClassifier`.

    Shape:
        Training inputs: two of (N, 3, H, W). Testing inputs: (N, 3, H, W).

    Raises:
        ValueError: In training, if the inputs are not two views, or the feature that the head takes is no vector.
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
        if train_cfg:
            raise ValueError(
                'AugShiftClassifier needs one label per image: remove train_cfg (its batch augmentations mix labels), '
                f'got {train_cfg}'
            )
        if data_preprocessor is None or isinstance(data_preprocessor, dict):
            data_preprocessor = {'type': 'mmposenc.BatchPreprocessor', **(data_preprocessor or {})}
        super().__init__(backbone, neck, head, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.augshift_loss = MODELS.build(loss or {'type': 'mmposenc.AugShiftLoss'})

    def loss(self, inputs: list[Tensor], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Eq. 1 for a batch of image pairs.

        Args:
            inputs: The two views, each (N, 3, H, W).
            data_samples: Samples whose `gt_label`s, put together, are the N labels.
        """
        if isinstance(inputs, Tensor) or len(inputs) != 2:
            got = f'one tensor of shape {tuple(inputs.shape)}' if isinstance(inputs, Tensor) else f'{len(inputs)} views'
            raise ValueError(
                f'AugShiftClassifier trains on exactly two views of each image, got {got}; add mmposenc.BatchTwoViews '
                "to the preprocessor's train_transforms, or MultiView(num_views=2) to the training pipeline"
            )
        features = self.extract_feat(torch.cat(list(inputs)))
        pooled = self.head.pre_logits(features)
        if pooled.ndim != 2:
            raise ValueError(
                f'AugShiftClassifier compares pooled features of shape (N, C), got {tuple(pooled.shape)}; '
                "add a pooling neck such as dict(type='GlobalAveragePooling')"
            )
        labels = torch.cat([sample.gt_label for sample in data_samples]).to(pooled.device)
        return self.augshift_loss(self.head(features).chunk(2), pooled.chunk(2), labels)
