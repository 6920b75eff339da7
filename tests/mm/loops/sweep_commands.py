"""A checkpoint, rankings and the command line of a sweep, for the configs of tests/conftest.py."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from planted import some_ranking
from tiny_networks import spread


def make_aspp(config: Path) -> Path:
    """The segmenter's config with DeepLabv3's head, for which level 3 exists."""
    text = config.read_text().replace("type='FCNHead'", "type='ASPPHead', dilations=(1, 2), norm_cfg=dict(type='BN')")
    config.write_text(text.replace('num_convs=1, ', ''))
    return config


def save_inputs(config: Path, layer: str, folder: Path) -> list[str]:
    """Write a checkpoint of random weights and three rankings; returns the arguments that name them."""
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = spread(MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model}))
    if cfg.default_scope == 'mmseg':
        _balance(model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'net.pth')
    files = []
    for seed, region in enumerate(('overall', 'left', 'right')):
        scores = torch.randn(32, generator=torch.Generator().manual_seed(seed))
        files.append(str(folder / f'{region}.json'))
        some_ranking(scores, layer=layer, statistic='signed', region=region).save(files[-1])
    return [str(config), str(folder / 'net.pth'), '--rankings', *files]


@torch.no_grad()
def _balance(model: Any) -> None:
    """Let each class win in half of a scene; otherwise one is predicted everywhere, whatever is off."""
    scene = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32) + 0.3 * torch.randn(1, 3, 32, 32)
    logits = model(scene, mode='tensor')
    model.decode_head.conv_seg.bias[1] += (logits[:, 0] - logits[:, 1]).median()


def result(folder: str | Path) -> dict[str, bytes]:
    """The files of a sweep that has ended."""
    names = sorted(path.name for path in Path(folder).iterdir() if path.name != '.lock')
    assert names[-3:] == ['sweep.csv', 'sweep.json', 'sweep_counts.npz']
    return {name: (Path(folder) / name).read_bytes() for name in names}
