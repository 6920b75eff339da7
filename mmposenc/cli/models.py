"""A MODEL and images of a folder, as `mmposenc probe` and `mmposenc consistency` take them."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from mmposenc.cli import common

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor, nn


def add_arguments(parser: ArgumentParser, several: bool = False) -> None:
    """Add the model or models, their weights, and the normalisation."""
    add, nargs = parser.add_argument, '+' if several else None
    named = 'config file, timm:NAME, torchvision:NAME or FILE.py:FUNCTION'
    add('models' if several else 'model', nargs=nargs, metavar='MODEL', help=named)
    fit = f'{"a file for each model" if several else "file"}, which must fit exactly; "none": random weights'
    add('--weights', nargs=nargs, required=True, metavar='FILE', help=fit)
    add('--weights-by-order', action='store_true', help='match tensors by order and shape, not by name')
    add('--trust-checkpoint', action='store_true', help='let the file run code: only if you trust it')
    for name in ('mean', 'std'):
        default = f"{name} of RGB in 0 to 1 (default: the network's, else ImageNet's)"
        add(f'--{name}', type=float, nargs=3, help=default)
    common.add_cfg_options(parser)


@dataclass(frozen=True)
class Preprocessing:
    """What a network was tested with: sides in px, mean and std of RGB in 0 to 1, and whether it takes BGR."""

    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)
    bgr: bool = False
    resize: int | None = None
    crop: int | None = None
    interpolation: str = 'bilinear'

    def transform(self, side: int | None, interpolation: str) -> Any:
        """From a PIL image to what the network takes: the middle square of `side` px, or all of it."""
        from torchvision import transforms

        steps: list[Any] = [transforms.ToTensor(), transforms.Normalize(self.mean, self.std)]
        if self.bgr:
            steps.append(methodcaller('flip', 0))
        if side:
            mode = transforms.InterpolationMode(interpolation)
            steps = [transforms.Resize(side, mode), transforms.CenterCrop(side), *steps]
        return transforms.Compose(steps)


class Images:
    """A data set of images, each an array or a file, and the numbers of their classes."""

    def __init__(self, images: Sequence[Any], labels: Sequence[int], transform: Any) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple['Tensor', int]:
        from PIL import Image
        from torchvision.datasets.folder import default_loader

        image = self.images[index]
        opened = default_loader(str(image)) if isinstance(image, (str, Path)) else Image.fromarray(image)
        return self.transform(opened), self.labels[index]


def check_folder(folder: str) -> Path:
    """The folder, which must be there."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(f'there is no folder {folder}')
    return Path(folder)


CIFAR = {'cifar-10-batches-py': 'CIFAR10', 'cifar-10-python.tar.gz': 'CIFAR10'}
CIFAR |= dict.fromkeys(('cifar-100-python', 'cifar-100-python.tar.gz'), 'CIFAR100')


def is_cifar(folder: str) -> bool:
    """Whether a folder holds a CIFAR archive, packed or not."""
    return any(Path(folder, name).exists() for name in CIFAR)


def read_cifar(folder: str) -> tuple[Any, list[int]]:
    """The test images of the CIFAR archive in a folder, (N, 32, 32, 3) of uint8, and their classes."""
    from mmposenc.mm import datasets

    kind, *more = sorted({kind for name, kind in CIFAR.items() if Path(folder, name).exists()})
    if more:
        raise ValueError(f'{folder} holds both {kind} and {more[0]}: put one of them into a folder of its own')
    load = partial(getattr(datasets, kind), folder, 'test', download=False)
    try:
        data = load()
    except ValueError:  # a re-packed copy, which no checksum vouches for
        data = load(verify=False)
        common.say(f'not the official files of {kind} (other checksums): read as plain data, without running code')
    return data.images.permute(0, 2, 3, 1).numpy(), data.labels.tolist()


def is_config(name: str) -> bool:
    """Whether a MODEL is a config, not a network by name."""
    source, _, entry = name.rpartition(':')
    return not source or name.startswith('mmposenc::') or entry.endswith('.py')


def read_config(args: Namespace, name: str, *keys: str) -> 'Config':
    """The config that a MODEL names, which has these keys, with the overrides that were typed."""
    if ':' not in name and not Path(name).suffix:
        raise ValueError(f'{name} is no config file: a network by name is timm:{name} or torchvision:{name}')
    return common.load_config(Namespace(**{**vars(args), 'config': name, 'launcher': 'none', 'work_dir': None}), *keys)


def definition(args: Namespace, name: str) -> str:
    """What a network is built from, beside its name: the model of its config, or the text of its file."""
    if is_config(name):
        return str(read_config(args, name).get('model'))
    file = Path(name.rpartition(':')[0])
    return file.read_text() if file.suffix == '.py' else ''


def load_weights(args: Namespace, model: 'nn.Module', file: str) -> None:
    """Load a file of `--weights`, and say what was taken."""
    from mmposenc.host.weights import load_weights, weights_by_order

    if file != 'none':
        common.say((weights_by_order if args.weights_by_order else load_weights)(model, file, args.trust_checkpoint))


def build(args: Namespace, name: str, num_classes: int | None = None) -> tuple['nn.Module', Preprocessing]:
    """A network without weights, and the preprocessing it was tested with unless another was typed."""
    if is_config(name):
        if args.mean or args.std:
            raise ValueError(f'--mean, --std: not for a config such as {name}, which has its own')
        return _of_config(read_config(args, name, 'model'))
    from mmposenc.host.weights import build_network

    model, known = build_network(name, num_classes), {}
    source, _, entry = name.rpartition(':')
    if source == 'timm':
        from timm.data import resolve_model_data_config

        config = resolve_model_data_config(model)
        known = {key: config[key] for key in ('mean', 'std', 'interpolation')}
        known['crop'] = config['input_size'][1]
        if config['crop_mode'] == 'center':
            known['resize'] = int(known['crop'] / config['crop_pct'])
    elif source == 'torchvision':
        from torchvision.models import get_model_weights

        files = {Path(file).name for file in ([args.weights] if isinstance(args.weights, str) else args.weights)}
        known_weights = list(get_model_weights(entry))
        chosen = [each for each in known_weights if Path(each.url).name in files] or known_weights
        preset = chosen[0].transforms()
        if hasattr(preset, 'mean'):
            known = dict(mean=preset.mean, std=preset.std)
        if hasattr(preset, 'crop_size'):
            known |= dict(resize=preset.resize_size[0], crop=preset.crop_size[0])
            known['interpolation'] = preset.interpolation.value
    typed = {key: getattr(args, key) for key in ('mean', 'std') if getattr(args, key)}
    return model, Preprocessing(**{**known, **typed})


def _of_config(cfg: 'Config') -> tuple['nn.Module', Preprocessing]:
    from mmengine.registry import MODELS, init_default_scope

    from mmposenc.host.config import replace_sync_bn

    init_default_scope(cfg.get('default_scope', 'mmengine'))
    replace_sync_bn(cfg.model)
    model = MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model})
    _draw_weights(model)
    own = model.data_preprocessor
    reads_bgr = _reads_bgr((cfg.get('test_dataloader') or {}).get('dataset', {'pipeline': ()}))
    swaps = any(getattr(own, name, False) for name in ('to_rgb', 'channel_conversion', '_channel_conversion'))
    mean, std = [0.0] * 3, [1 / 255] * 3
    if getattr(own, '_enable_normalize', False):
        mean, std = ((values.flatten() / 255).tolist() for values in (own.mean, own.std))
    bgr = reads_bgr != swaps
    return model, Preprocessing(mean[::-1] if bgr else mean, std[::-1] if bgr else std, bgr)


def _reads_bgr(data: Any) -> bool:
    """Whether a data set gives BGR, as pipelines read files; CIFAR, and what has no pipeline, is RGB in memory."""
    from mmposenc.host.config import type_name

    if inner := data.get('dataset') or data.get('datasets'):  # of a wrapper
        return _reads_bgr(inner if isinstance(inner, dict) else inner[0])
    return 'pipeline' in data and not type_name(data).endswith(('CIFAR10', 'CIFAR100'))


def _draw_weights(model: Any) -> None:
    """Draw random weights as a training would, position embeddings too; files that a config names are not read."""
    for module in model.modules():
        drawn = getattr(module, 'init_cfg', None) or []
        drawn = drawn if isinstance(drawn, list | tuple) else [drawn]
        if any('checkpoint' in each for each in drawn):
            module.init_cfg = [each for each in drawn if 'checkpoint' not in each] or None
    with patch.object(model, '_dump_init_info'):  # a line for every parameter
        model.init_weights()
