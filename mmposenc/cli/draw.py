"""Draw a grid experiment (Fig. 1), or what a segmenter predicts with channels ablated (Fig. 5).

`overlays` draws predictions with the top channels of a ranking ablated, and with as many random ones.

`grids` draws the inputs. With a checkpoint it also draws, for each cell of the grid, where its patches are predicted to
be, and how far the sum of the pooled channels, all that PermuteNet sees on average, tells the cells apart.

Examples:
    mmposenc draw overlays CONFIG CKPT --ranking ranking.json --num-channels 100 --images 0 17 --out fig5.png
    mmposenc draw grids mmposenc::gapnet_r18_grid3-location_cifar10.py work_dirs/.../epoch_20.pth --out pictures
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmposenc.cli import common

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mmengine.config import Config
    from mmengine.dataset import BaseDataset
    from torch import Tensor, nn


def add_arguments(parser: ArgumentParser) -> None:
    pictures = parser.add_subparsers(dest='picture', metavar='{overlays,grids}', required=True)
    layout: Any = dict(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    overlays = pictures.add_parser('overlays', help='predictions with channels ablated', **layout)
    common.add_run_arguments(overlays)
    add = overlays.add_argument
    add('--ranking', required=True, help='file that mmposenc rank wrote')
    add('--num-channels', type=int, default=100, metavar='N', help='channels to ablate (default: 100)')
    add('--layer', help="dotted module path (default: the ranking's)")
    positions = 'positions in the test data set, or file names (default: 0 1 2)'
    add('--images', nargs='+', default=['0', '1', '2'], help=positions)
    add('--seed', type=int, default=0, help='seed of the random channels (default: 0)')
    add('--out', help='PNG, SVG or PDF (default: ablation.png in the work directory)')
    grids = pictures.add_parser('grids', help='inputs and answers of a grid experiment', **layout)
    common.add_run_arguments(grids, checkpoint=False)
    grids.add_argument('checkpoint', nargs='?', help='of a network that predicts locations; without it, only inputs')
    grids.add_argument('--out', default='.', help='folder for the pictures (default: the current one)')
    grids.add_argument('--num-images', type=int, default=10, help='inputs to draw (default: 10)')
    for each in (overlays, grids):
        each.add_argument('--traceback', action='store_true', help='on an error, show where in the code it happened')


def run(args: Namespace) -> None:
    """Draw, and end with the paths of the pictures."""
    if args.launcher != 'none':
        raise ValueError('pictures are drawn in one process: start it without --launcher or torchrun')
    (_draw_overlays if args.picture == 'overlays' else _draw_grids)(args)


def _draw_overlays(args: Namespace) -> None:
    """One row per image: as it is, with the top channels ablated, with random ones (Fig. 5)."""
    from copy import deepcopy

    import torch
    from mmcv import imresize
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import DATASETS

    from mmposenc.channels import ablate_channels, random_channels, top_channels
    from mmposenc.figures import AblatedPredictions, draw_overlays, save_figure
    from mmposenc.ranking import Ranking

    cfg = common.load_config(args, 'model', 'test_dataloader')
    ranking, number = Ranking.load(args.ranking), args.num_channels
    chosen = ((), top_channels(ranking, number), random_channels(ranking.num_channels, number, args.seed))
    runner = common.build_runner(cfg, args.verbose)
    runner.load_or_resume()
    model = runner.model.eval()
    ranking.check_model(model)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if not hasattr(dataset, 'get_data_info'):
        raise ValueError(f'{type(dataset).__name__} has no label maps: overlays are of a segmentation config of mmseg')
    layer, rows = args.layer or ranking.layer, []
    for place in _places(dataset, args.images):
        sample = dataset[place]
        truth = sample['data_samples']
        if 'gt_sem_seg' not in truth:
            raise ValueError('label maps are missing: add LoadAnnotations to the pipeline, or choose another data set')
        predictions = []
        for channels in chosen:
            batch = pseudo_collate([deepcopy(sample)])
            with torch.no_grad(), ablate_channels(model, layer, channels, num_channels=ranking.num_channels):
                (found,) = model.test_step(batch)
            predictions.append(found.pred_sem_seg.data.squeeze(0).cpu().numpy())
        labels = truth.gt_sem_seg.data.squeeze(0).cpu().numpy()
        image = sample['inputs'].permute(1, 2, 0).clamp(0, 255).to(torch.uint8).numpy()[..., ::-1]  # read as BGR
        name = Path(truth.metainfo.get('img_path') or '').stem
        rows.append(AblatedPredictions(name, imresize(image, labels.shape[::-1]), labels, *predictions))
    figure = draw_overlays(rows, dataset.metainfo['classes'], dataset.metainfo['palette'], number, layer)
    out = save_figure(figure, args.out or Path(cfg.work_dir, 'ablation.png'))
    common.say(f'done: {len(rows)} images with {number} channels of {layer} ablated: {out}')


def _places(dataset: 'BaseDataset', images: Sequence[str]) -> list[int]:
    """Positions of images that are named by position or by file name."""
    names = [Path(dataset.get_data_info(place).get('img_path', '')) for place in range(len(dataset))]
    known = {str(place): place for place in range(len(dataset))}
    for text in (lambda name: name.stem, lambda name: name.name):  # a name of a file comes before a position
        known |= {text(name): place for place, name in reversed([*enumerate(names)]) if name.name}
    for image in images:
        if image not in known:
            raise ValueError(f'--images takes positions from 0 to {len(dataset) - 1} or file names, got {image}')
    return [known[image] for image in images]


def _draw_grids(args: Namespace) -> None:
    """inputs.png, and with a checkpoint confusion.png and sums.png (Fig. 1)."""
    from mmposenc.figures import save_figure

    common.check_positive(args, 'num_images')
    cfg = common.load_config(args, 'model', 'test_dataloader', 'test_cfg', 'test_evaluator')
    inputs = _inputs(cfg, args.num_images)
    tested = _test_grid(cfg, args.verbose) if args.checkpoint else None
    common.say(f'inputs: {save_figure(inputs, Path(args.out, "inputs.png"))}')
    if tested:
        confusion, sums, share = tested
        common.say(f'confusion: {save_figure(confusion, Path(args.out, "confusion.png"))}')
        common.say(f'sums: {save_figure(sums, Path(args.out, "sums.png"))}; the sum alone locates {share:.1f}%')


def _inputs(cfg: 'Config', number: int) -> 'Figure':
    """The first test images as the network is given them, the normalisation undone."""
    import torch
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner
    from mmpretrain.registry import MODELS

    from mmposenc.figures import draw_inputs

    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    loader = Runner.build_dataloader({**cfg.test_dataloader, 'batch_size': number})
    dataset = loader.dataset
    grid = getattr(dataset, 'metainfo', {})
    if 'grid_size' not in grid:
        raise ValueError(f'{type(dataset).__name__} of {cfg.filename} has no grid; use a config with GridCIFAR10')
    batch = next(iter(loader))
    preprocessor = MODELS.build(cfg.model.get('data_preprocessor') or cfg.data_preprocessor)
    images = preprocessor(batch)['inputs']
    images = (images * preprocessor.std + preprocessor.mean).round().clip(0, 255).to(torch.uint8)
    pairs = zip(batch['cells'].tolist(), batch['labels'].tolist(), strict=True)
    titles = [f'location {cell}, category {label}' for cell, label in pairs]
    return draw_inputs(images.permute(0, 2, 3, 1).numpy(), titles, grid['grid_size'])


def _test_grid(cfg: 'Config', verbose: bool) -> 'tuple[Figure, Figure, float]':
    """Test the checkpoint; draw predicted places and sums; the share in % that the sum alone locates."""
    import torch

    from mmposenc.figures import draw_confusion, draw_pooled_sums
    from mmposenc.figures.grids import located_by_sum
    from mmposenc.layers import global_average_pool

    cfg.test_evaluator = {'type': 'ConfusionMatrix'}
    runner = common.build_runner(cfg, verbose)
    grid = runner.test_dataloader.dataset.metainfo
    if grid['task'] != 'location':
        got = f'{grid["task"]} in {cfg.filename}; leave the checkpoint out to draw the inputs'
        raise ValueError(f'a confusion over the grid needs task location, got {got}')
    sums: list[Tensor] = []

    def add(module: 'nn.Module', args: tuple, output: 'Tensor | Sequence[Tensor]') -> None:
        last = output if isinstance(output, torch.Tensor) else output[-1]
        sums.append(global_average_pool(last).sum(1).cpu())

    runner.model.backbone.register_forward_hook(add)
    counts = runner.test()['confusion_matrix/result'].numpy()
    found = torch.cat(sums).numpy()
    cells = torch.cat([batch['cells'] for batch in runner.test_dataloader]).numpy()
    confusion = draw_confusion(counts, grid['grid_size'], Path(cfg.filename).stem.split('_')[0])
    return confusion, draw_pooled_sums(found, cells, counts), located_by_sum(found, cells)
