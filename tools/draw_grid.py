"""Draw what a grid experiment is shown (Fig. 1), and with a checkpoint where it looks for the patch.

Writes inputs.png, and with a checkpoint confusion.png: for each cell of the grid, where its patches are said to be, and
sums.png: how far the sum of the pooled channels, all that PermuteNet sees on average, tells the cells apart.
Accuracy against grid size is drawn by tools/run_table1.py.

Example:
    python tools/draw_grid.py configs/gapnet_r18_grid3-location_cifar10.py work_dirs/.../epoch_20.pth --out pictures
"""

from collections.abc import Sequence
from pathlib import Path

from mmposenc.cli import common as command_line

# isort: split
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch import nn

from mmposenc.figures.grid_figures import draw_confusion, draw_inputs, save_figure
from mmposenc.figures.pooled_sums import draw_pooled_sums
from mmposenc.layers import global_average_pool


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the inputs and the confusion over the grid (Fig. 1; ours)."""
    parser = command_line.make_parser(__doc__.splitlines()[0])
    parser.add_argument('checkpoint', nargs='?', help='of a network that names locations; without it, only the inputs')
    parser.add_argument('--out', default='.', help='folder for the pictures (default: the current one)')
    parser.add_argument('--num-images', type=int, default=10, help='inputs to draw (default: 10)')
    args = parser.parse_args(argv)
    if args.num_images < 1:
        raise ValueError(f'--num-images must be at least 1, got {args.num_images}')
    cfg = command_line.load_config(args)
    command_line.require(cfg, 'model', 'test_dataloader', 'test_cfg', 'test_evaluator')
    command_line.say(f'inputs: {save_figure(inputs(cfg, args.num_images), Path(args.out, "inputs.png"))}')
    if args.checkpoint:
        command_line.load_weights(cfg, args.checkpoint)
        confusion, sums, zeros = test(cfg)
        command_line.say(f'confusion: {save_figure(confusion, Path(args.out, "confusion.png"))}')
        command_line.say(f'sums: {save_figure(sums, Path(args.out, "sums.png"))}; always 0 in {zeros}')


def inputs(cfg: Config, number: int) -> Figure:
    """The first test images as the network is given them, the normalisation undone."""
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    loader = Runner.build_dataloader({**cfg.test_dataloader, 'batch_size': number})
    dataset = loader.dataset
    grid = getattr(dataset, 'metainfo', {})
    if 'grid_size' not in grid:
        raise ValueError(f'{type(dataset).__name__} of {cfg.filename} is on no grid; take a config with GridCIFAR10')
    batch = next(iter(loader))
    preprocessor = MODELS.build(cfg.model.get('data_preprocessor') or cfg.data_preprocessor)
    images = preprocessor(batch)['inputs']
    images = (images * preprocessor.std + preprocessor.mean).round().clip(0, 255).to(torch.uint8)
    titles = [
        f'location {cell}, category {label}'
        for cell, label in zip(batch['cells'].tolist(), batch['labels'].tolist(), strict=True)
    ]
    return draw_inputs(images.permute(0, 2, 3, 1).numpy(), titles, grid['grid_size'])


def test(cfg: Config) -> tuple[Figure, Figure, str]:
    """Test the checkpoint; draw where the patches are said to be and the sums, and count the cells whose sum is 0."""
    cfg.test_evaluator = {'type': 'ConfusionMatrix'}
    runner = command_line.build_runner(cfg)
    grid = runner.test_dataloader.dataset.metainfo
    if grid['task'] != 'location':
        raise ValueError(
            f'a confusion over the grid needs task location, got {grid["task"]} in {cfg.filename}; '
            'leave the checkpoint out to draw the inputs'
        )
    sums: list[torch.Tensor] = []

    def add(module: nn.Module, args: tuple, output: torch.Tensor | Sequence[torch.Tensor]) -> None:
        last = output if isinstance(output, torch.Tensor) else output[-1]
        sums.append(global_average_pool(last).sum(1).cpu())

    runner.model.backbone.register_forward_hook(add)
    counts = runner.test()['confusion_matrix/result'].numpy()
    found = torch.cat(sums).numpy()
    cells = torch.cat([batch['cells'] for batch in runner.test_dataloader]).numpy()
    confusion = draw_confusion(counts, grid['grid_size'])  # checks the counts too
    zeros = sum(not found[cells == cell].any() for cell in range(len(counts)))
    return confusion, draw_pooled_sums(found, cells, counts), f'{zeros} of {len(counts)} cells'


if __name__ == '__main__':
    command_line.run(main)
