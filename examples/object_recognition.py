"""What a classifier loses without its position channels: the ablation of Sec. 4.2.2 for object recognition.

At the end of a network and in its middle, channels are ranked by Eq. 2, by a roll of the image, by mean activation (a
control) and by the share of position in their variance. The top N of each are ablated, beside random orders and orders
matched in mean activation. Rankings are made from the even images and harm, the loss of Top-1, is measured on the odd
ones; at the end also, as in the paper, on the very images that the rankings are from. Killed, it goes on where it was.

    python examples/object_recognition.py timm:tf_efficientnet_lite0 --weights lite0.pth --weights-by-order \
        --images imagenet --labels labels.csv --end bn2 --middle blocks.3 blocks.5 --out work_dirs/objects/lite0
"""

import csv
import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision.transforms import CenterCrop, Compose

from mmposenc import Sweep, probe_location, sweep_channels
from mmposenc.channels import Ranking, collect_sums
from mmposenc.channels.rank import make_ranking
from mmposenc.cli import models
from mmposenc.cli.consistency import open_images
from mmposenc.figures.style import line_styles, panels, save_figure, shared_legend, styled
from mmposenc.ranking import model_fingerprint
from mmposenc.results import atomic_write

# Shares of the channels that are ablated, and the numbers of random orders.
END = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), dict(num_random=199, num_matched=39)
MIDDLE = (0.05, 0.1, 0.2, 0.4), dict(num_random=39, num_matched=39)


def main() -> None:
    parser = ArgumentParser(description=__doc__.partition('\n')[0])
    models.add_arguments(parser)
    parser.add_argument('--images', required=True, help='folder')
    parser.add_argument('--labels', required=True, help='CSV of file names and numbers of the class')
    parser.add_argument('--end', required=True, metavar='LAYER', help='the layer that is pooled for the classifier')
    parser.add_argument('--middle', nargs='+', metavar='LAYER', default=[], help='layers before it')
    parser.add_argument('--out', required=True, help='folder')
    args = parser.parse_args()
    model, known = models.build(args, args.model)
    models.load_weights(args, model, args.weights)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = model.eval().to(device, memory_format=torch.channels_last)  # on a CPU twice as fast
    whole = known.transform(known.resize or known.crop, known.interpolation)
    data = open_images(args.images, args.labels, Compose([whole, CenterCrop(known.crop)]), known.crop)
    even, odd = (list(range(start, len(data), 2)) for start in (0, 1))
    patches = models.Images(data.images, data.labels, known.transform(64, 'bicubic'))
    places = {'end': (args.end, even, odd, *END), 'end, same images': (args.end, odd, odd, *END)}
    places |= {layer: (layer, even, odd, *MIDDLE) for layer in args.middle}
    sweeps, sha256 = {}, model_fingerprint(model)
    for place, (layer, ranked, tested, shares, orders) in places.items():
        folder = Path(args.out, place.replace(', ', '-').replace(' ', '-'))
        if not (folder / 'sweep_counts.npz').is_file():
            rankings = rank(model, data, patches, layer, ranked)
            numbers = [round(share * rankings['Eq. 2'].num_channels) for share in shares]
            sweep_channels(model, batches(data, tested), rankings, numbers, **orders, say=print).save(folder)
        sweeps[place] = sweep = Sweep.load(folder)
        if (sweep.plan.rankings['Eq. 2'].model_sha256, len(sweep.counts)) != (sha256, len(tested)):
            raise ValueError(f'{folder} holds a sweep of other weights or images: give another --out')
        print(place, *(f'{row["ranking"]} {row["harm"]:.1f}' for row in sweep.claims()), flush=True)
    write(args, sweeps, sha256)


def batches(data: Any, chosen: list[int]) -> DataLoader:
    return DataLoader(Subset(data, chosen), batch_size=25)


def rank(model: nn.Module, data: Any, patches: Any, layer: str, chosen: list[int]) -> dict[str, Ranking]:
    """Rankings by what a mirror or a roll changes, by strength, and by position share (patches of 200 images)."""
    sums = collect_sums(model, batches(data, chosen), layer, ['flip_image', 'roll_image'])
    about = dict(layer=layer, reference=None, model_sha256=model_fingerprint(model))
    some = chosen[:: max(1, len(chosen) // 200)][:200]
    probe = probe_location(model, torch.stack([patches[i][0] for i in some]), [layer], controls=[])
    return {
        'Eq. 2': make_ranking(sums['flip_image'], 'abs', pair='flip_image', **about),
        'roll': make_ranking(sums['roll_image'], 'abs', pair='roll_image', **about),
        'mean activation': make_ranking(sums['flip_image'], 'mean_activation', pair='flip_image', **about),
        'position share': probe.ranking(layer),
    }


def write(args: Namespace, sweeps: dict[str, Sweep], sha256: str) -> None:
    """All figures as JSON, the claims as CSV, and the curves as a picture."""
    found = {}
    for place, sweep in sweeps.items():
        rankings = sweep.plan.rankings
        correlations = spearmanr([ranking.scores for ranking in rankings.values()], axis=1).statistic
        found[place] = dict(
            layer=sweep.layers[0],
            channels=sweep.plan.total,
            num_channels=sweep.plan.num_channels,
            images=dict(ranked=rankings['Eq. 2'].num_images, tested=len(sweep.counts)),
            random_orders=sweep.plan.num_random,
            matched_orders=sweep.plan.num_matched,
            top1=sweep.whole(),
            claims=[{key: row[key] for key in row if key not in ('layer', 'region')} for row in sweep.claims()],
            harm={name: sweep.harm(name).numpy().round(4).tolist() for name in rankings},
            random_harm=sweep.random_harm().numpy().round(4).tolist(),
            correlations=dict(zip(rankings, correlations.round(3).tolist(), strict=True)),
        )
    document = dict(model=args.model, model_sha256=sha256, torch=str(torch.__version__), places=found)
    atomic_write(Path(args.out, 'objects.json'), json.dumps(document) + '\n')
    rows = [dict(place=place, layer=each['layer'], **row) for place, each in found.items() for row in each['claims']]
    with open(Path(args.out, 'objects.csv'), 'w', newline='') as file:
        table = csv.DictWriter(file, rows[0], lineterminator='\n')
        table.writeheader()
        table.writerows(rows)
    save_figure(draw(found), Path(args.out, 'objects.png'))


@styled
def draw(found: dict[str, Any]) -> Figure:
    figure, (row,) = panels(1, len(found), 3.5, 3)
    for axes, (place, each) in zip(row, found.items(), strict=True):
        drawn = torch.tensor(each['random_harm']).double()
        low, high = drawn.quantile(torch.tensor([0.025, 0.975]).double(), 0)
        axes.fill_between(each['num_channels'], low, high, color='0.85', label='95% of random orders')
        styles = line_styles(each['harm'])
        for name, harm in each['harm'].items():
            axes.plot(each['num_channels'], harm, label=name, **styles[name])
        axes.set(title=f'{place} ({each["layer"]})' if place != each['layer'] else place, xlabel='channels ablated')
    row[0].set_ylabel('loss of Top-1 (points)')
    shared_legend(figure, 5 if len(found) > 2 else 3)
    return figure


if __name__ == '__main__':
    main()
