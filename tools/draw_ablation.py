"""Draw what a segmenter predicts without its position channels, and without as many random ones (Fig. 5).

Example:
    python tools/draw_ablation.py CONFIG CKPT --ranking ranking.json --num-channels 100 --images 0 17 --out fig5.png
"""

from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from mmposenc.cli import common as command_line

# isort: split
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from mmposenc.channels.channel_choice import random_channels, top_channels
from mmposenc.figures.ablated_predictions import predict_ablated
from mmposenc.figures.grid_figures import save_figure
from mmposenc.figures.overlays import draw_overlays
from mmposenc.ranking import Ranking


def main(argv: Sequence[str] | None = None) -> None:
    """Draw, and end with the picture's path (Fig. 5)."""
    parser = command_line.make_parser(__doc__)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument('checkpoint', help='checkpoint file or URL; it must fit the model of the config exactly')
    parser.add_argument('--ranking', required=True, help='file that tools/rank_channels.py wrote')
    parser.add_argument('--num-channels', type=int, default=100, metavar='N', help='channels to switch off (100)')
    parser.add_argument('--layer', help="dotted module path (default: the ranking's)")
    parser.add_argument(
        '--images', nargs='+', default=['0', '1', '2'], help='positions in the test data set, or file names'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the random channels (default: 0)')
    parser.add_argument('--out', help='PNG, SVG or PDF (default: ablation.png in the work directory)')
    args = parser.parse_args(argv)
    cfg = command_line.load_config(args)
    command_line.require(cfg, 'model', 'test_dataloader')
    command_line.load_weights(cfg, args.checkpoint)
    ranking = Ranking.load(args.ranking)
    position = top_channels(ranking, args.num_channels)
    random = random_channels(ranking.num_channels, args.num_channels, args.seed)
    runner = command_line.build_runner(cfg)
    runner.load_or_resume()
    model = runner.model.eval()
    ranking.check_model(model)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    layer = args.layer or ranking.layer
    rows = [
        predict_ablated(model, dataset[place], layer, position, random, ranking.num_channels)
        for place in _places(dataset, args.images)
    ]
    figure = draw_overlays(rows, dataset.metainfo['classes'], dataset.metainfo['palette'], args.num_channels, layer)
    out = save_figure(figure, args.out or Path(cfg.work_dir, 'ablation.png'))
    command_line.say(f'done: {len(rows)} images without {args.num_channels} channels of {layer}: {out}')


def _places(dataset: BaseDataset, images: Sequence[str]) -> list[int]:
    """Positions of images that are named by position or by file name."""
    names = [Path(dataset.get_data_info(place).get('img_path', '')).name for place in range(len(dataset))]
    stems = [Path(name).stem for name in names]
    places = []
    for image in images:
        if image in names or image in stems:
            places.append((names if image in names else stems).index(image))
        elif image.isdecimal() and int(image) < len(dataset):
            places.append(int(image))
        else:
            raise ValueError(f'--images takes positions from 0 to {len(dataset) - 1} or file names, got {image}')
    return places


if __name__ == '__main__':
    command_line.run(main)
