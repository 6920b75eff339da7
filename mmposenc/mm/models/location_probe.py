"""Position read from a frozen, pretrained network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from mmengine.runner import CheckpointLoader
from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from mmposenc.registry import MODELS


@MODELS.register_module()
class LocationProbe(ImageClassifier):
    """A frozen backbone, and read-outs of the location at every stage of it (Sec. 3 asks this of networks in training).

    The backbone neither learns nor updates its statistics; only the read-outs of `StageReadoutHead` train. Any backbone
    that gives maps will do: mmpretrain's with `out_indices`, a TIMM one (`TIMMBackbone` with `features_only=True`), or
    any module of torchvision with the names of its `layers`.

    Args:
        backbone: Config of the backbone. Weights that it loads by itself (torchvision's `weights`, TIMM's `pretrained`,
            `init_cfg`) need no `checkpoint`.
        head: Config of `StageReadoutHead` without `in_channels`, which is found by sending a blank image through.
        checkpoint: File or URL whose weights the backbone takes. They must fit exactly: a probe of random weights gives
            figures too. None leaves the backbone as it initialises itself, the control.
        prefix: Prefix of the backbone's weights in the checkpoint, '' for a checkpoint of the backbone alone.
        layers: Dotted paths of modules inside the backbone, each a stage. None takes the backbone's outputs.
        image_size: Width in px of the blank image. Default 96, a 3x3 grid of 32 px.
        data_preprocessor: As in `ImageClassifier`; mean and std are those that the backbone was trained with.
        init_cfg: As in `ImageClassifier`.

    Shape:
        Inputs (N, 3, H, W); the head is given one (N, C, H', W') per stage.

    Raises:
        ValueError: If a layer does not exist, a stage is no map, or the checkpoint does not fit the backbone.

    Example:
        >>> model = dict(
        ...     type='mmposenc.LocationProbe',
        ...     backbone=dict(type='torchvision.models.resnet50', weights='IMAGENET1K_V2'),
        ...     layers=['layer1', 'layer2', 'layer3', 'layer4'],
        ...     head=dict(num_classes=9),
        ... )
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        checkpoint: str | None = None,
        prefix: str = 'backbone.',
        layers: Sequence[str] | None = None,
        image_size: int = 96,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.layers = tuple(layers or ())
        self.backbone.requires_grad_(False).eval()
        _check_layers(self.backbone, self.layers)
        stages = self.extract_feat(torch.zeros(1, 3, image_size, image_size))
        self.head = MODELS.build(
            {
                'type': 'mmposenc.StageReadoutHead',
                'in_channels': [stage.shape[1] for stage in stages],
                'names': self.layers or None,
                **head,
            }
        )

    def init_weights(self) -> None:
        """Initialise the read-outs, and give the backbone its weights."""
        super().init_weights()
        if self.checkpoint is not None:
            checkpoint = CheckpointLoader.load_checkpoint(self.checkpoint, map_location='cpu')
            weights = checkpoint.get('state_dict', checkpoint)
            load_exactly(self.backbone, weights, self.prefix, self.checkpoint)

    def train(self, mode: bool = True) -> 'LocationProbe':
        """Train the read-outs only: the backbone stays as in testing."""
        super().train(mode)
        self.backbone.eval()
        return self

    @torch.no_grad()
    def extract_feat(self, inputs: Tensor, stage: str = 'backbone') -> tuple[Tensor, ...]:
        """Return the map of every stage."""
        with _captured(self.backbone, self.layers) as captured:
            outputs = self.backbone(inputs)
        stages = tuple(captured) if self.layers else outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        for name, features in zip(self.layers or range(1, len(stages) + 1), stages, strict=True):
            if not isinstance(features, Tensor) or features.ndim != 4:
                got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
                raise ValueError(
                    f'LocationProbe reads maps of shape (N, C, H, W), but stage {name} of '
                    f'{type(self.backbone).__name__} gives {got}; name layers that give maps'
                    " (of a transformer: out_type='featmap')"
                )
        return tuple(stages)


def load_exactly(backbone: nn.Module, weights: dict[str, Tensor], prefix: str, source: str) -> None:
    """Load the weights under a prefix, all of them and no others (ours).

    Raises:
        ValueError: If there are none under the prefix, or they are not those of the backbone.
    """
    weights = {key.removeprefix('module.'): value for key, value in weights.items()}
    chosen = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    if not chosen:
        heads = ', '.join(sorted({key.partition('.')[0] for key in weights})[:8])
        raise ValueError(f'checkpoint {source} holds nothing under prefix {prefix!r}; its keys begin with: {heads}')
    own = {key: value for key, value in backbone.state_dict().items() if not key.endswith('num_batches_tracked')}
    wrong = sorted(own.keys() - chosen.keys())
    wrong += sorted(key for key in chosen if key not in own and not key.endswith('num_batches_tracked'))
    wrong += sorted(key for key in own.keys() & chosen.keys() if own[key].shape != chosen[key].shape)
    if wrong:
        raise ValueError(
            f'checkpoint {source} is of another backbone than {type(backbone).__name__} of this config: {len(wrong)} '
            f'weights are missing, unexpected or of another shape, first {"; ".join(wrong[:3])}; '
            'give the backbone that it was trained with'
        )
    backbone.load_state_dict(chosen, strict=False)


def _check_layers(backbone: nn.Module, layers: Sequence[str]) -> None:
    modules = dict(backbone.named_modules())
    for layer in layers:
        if layer not in modules or not layer:
            found = layer
            while found not in modules:
                found = found.rpartition('.')[0]
            children = ', '.join(name for name, _ in modules[found].named_children())
            place = repr(found) if found else 'the backbone itself'
            raise ValueError(
                f'layer {layer!r} does not exist in {type(backbone).__name__}: '
                f'the deepest part that does is {place}, whose children are: {children or "none"}'
            )


@contextmanager
def _captured(backbone: nn.Module, layers: Sequence[str]) -> Iterator[list]:
    """Collect what the layers give, in the order in which they are named; no hook stays behind."""
    outputs: dict[str, object] = {}
    captured: list = []
    handles = []
    try:
        for layer in layers:
            module = backbone.get_submodule(layer)
            handles.append(module.register_forward_hook(lambda _, __, out, layer=layer: outputs.update({layer: out})))
        yield captured
        captured.extend(outputs[layer] for layer in layers)
    finally:
        for handle in handles:
            handle.remove()
