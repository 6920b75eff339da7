"""Fig. 4 and 6 on ESPNet, a segmentation network that its authors trained on CamVid.

    git clone https://github.com/sacmehta/ESPNet
    python examples/espnet_camvid.py --espnet ESPNet --data data/camvid --out runs/espnet

Rankings are of the training and validation images, harm is of the test images. The sweeps go through the test images in
parts; a part that is done is not run again. `espnet.json` holds every figure, `claims.csv` the tests against chance,
`espnet.png` the curves.
"""

import csv
import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmposenc import Ranking, chance_test, probe_location, sweep_channels
from mmposenc.chance import dissociation
from mmposenc.channels import PairedSums, Sweep, collect_sums, matched_random_channels
from mmposenc.channels.rank import make_ranking
from mmposenc.figures.style import GREY, line_styles, panels, save_figure, shared_legend, styled
from mmposenc.grids import LocationProbe
from mmposenc.regions import MeanIoU, halves, side
from mmposenc.results import atomic_write

CLASSES = ('sky', 'building', 'pole', 'road', 'pavement', 'tree')
CLASSES += ('sign', 'fence', 'car', 'pedestrian', 'bicyclist', 'void')
PEDESTRIAN, VOID = 9, 11
PAIRS = {'Eq. 2': 'flip_image', 'vertical': 'flip_image_vertical', 'roll': 'roll_image'}
LAYERS = ('encoder.b3', 'encoder.level3.3', 'encoder.b2')
"""The encoder's end (256 channels, 1/8 of the size), the middle of its last stage (128), the end of the stage before
(131, 1/4 of the size)."""
SIX, THREE = (8, 16, 32, 48, 64, 96), (16, 32, 64)
SWEEPS = {
    'end': (LAYERS[0], SIX),
    'end-matched': (LAYERS[0], THREE),  # random orders of the same mean activation as the ranking
    'end-code': (LAYERS[0], THREE),  # the position code and its reverse
    'middle': (LAYERS[1], SIX),
    'before': (LAYERS[2], SIX),
}
NUM_RANDOM = 39
PARTS = 8


class Parts(list):
    """ESPNet keeps a list of its parts under the name of `nn.Module.modules`; this is both."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net.modules)
        self.net = net

    def __call__(self) -> object:
        return nn.Module.modules(self.net)


def load_espnet(folder: Path) -> nn.Module:
    """ESPNet p=2 q=8 with its CamVid weights: the variant of train/Model.py, 12 scores with void."""
    sys.path.insert(0, str(folder / 'train'))
    from Model import ESPNet

    net = ESPNet(len(CLASSES), 2, 8)
    weights = folder / 'pretrained' / 'decoder' / 'espnet_p_2_q_8_camvid.pth'
    net.load_state_dict(torch.load(weights, weights_only=True, map_location='cpu'))
    net.modules = Parts(net)
    return net.eval().to(memory_format=torch.channels_last)


class CamVid(Dataset):
    """Images (3, H, W) as ESPNet takes them and label maps of some parts of CamVid."""

    def __init__(self, files: Sequence[Path], mean: np.ndarray, std: np.ndarray) -> None:
        self.files, self.mean, self.std = list(files), mean, std

    def __len__(self) -> int:
        return len(self.files)

    def label(self, i: int) -> np.ndarray:
        file = self.files[i]
        return cv2.imread(str(file.parent.with_name(f'{file.parent.name}annot') / file.name), cv2.IMREAD_GRAYSCALE)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        image = (cv2.imread(str(self.files[i])) - self.mean) / self.std / 255  # BGR, as the authors do it
        return torch.from_numpy(image.transpose(2, 0, 1)).float(), torch.from_numpy(self.label(i))


def image_statistics(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean standard deviation of images by channel, as ESPNet's loader computes them."""
    moments = [(image.mean((0, 1)), image.std((0, 1))) for image in (cv2.imread(str(file)) for file in files)]
    mean, std = np.mean(moments, axis=0)
    return mean, std


def random_patches(data: CamVid, size: int = 64) -> Tensor:
    """One patch from a random place of every image."""
    draw, patches = np.random.default_rng(0), []
    for image, _ in (data[i] for i in range(len(data))):
        y, x = (int(draw.integers(length - size + 1)) for length in image.shape[1:])
        patches.append(image[:, y : y + size, x : x + size])
    return torch.stack(patches)


def inert_channels(probe: LocationProbe, layer: str) -> list[int]:
    """Channels that hardly vary. At the encoder's end they are half of all, and ablating them all changes nothing."""
    variance = probe.variance[layer]
    return (variance < 1e-6 * variance.max()).nonzero().flatten().tolist()


def live_orders(probe: LocationProbe, layer: str) -> list[list[int]]:
    """Random orders of the channels that are not inert: what a ranking is compared with."""
    live = sorted({*range(probe.channels[layer])} - {*inert_channels(probe, layer)})
    return [np.random.default_rng(seed).permutation(live).tolist() for seed in range(NUM_RANDOM)]


def finished(
    rankings: dict[str, Ranking], orders: dict[str, list[list[int]]], probe: LocationProbe
) -> dict[str, Ranking]:
    """Rankings and random orders by name, with the inert channels last in each."""
    first = next(iter(rankings.values()))
    inert = inert_channels(probe, first.layer)
    for name, draws in orders.items():
        for i, draw in enumerate(draws):
            rankings[f'{name} {i}'] = replace(first, statistic='random', pair='none', order=[*draw, *inert])
    return {
        name: replace(ranking, order=[*(c for c in ranking.order if c not in inert), *inert])
        for name, ranking in rankings.items()
    }


def image_rankings(net: nn.Module, data: CamVid, probe: LocationProbe, layer: str) -> dict[str, Ranking]:
    """The rankings of a layer by name; those of left and right by images whose pedestrians are all on that side."""
    sides = [side(*halves(data.label(i), PEDESTRIAN)) for i in range(len(data))]
    sums: dict[str | None, dict[str, PairedSums]] = {}
    for part in dict.fromkeys(sides):
        subset = CamVid([file for file, s in zip(data.files, sides, strict=True) if s == part], data.mean, data.std)
        sums[part] = collect_sums(net, DataLoader(subset), layer, list(PAIRS.values()))

    def ranking(statistic: str, pair: str, part: str | None = None) -> Ranking:
        total = PairedSums(probe.channels[layer])
        for found in [sums[part]] if part else sums.values():
            total.state += found[pair].state
        return make_ranking(total, statistic, None, pair=pair, layer=layer, region=part or 'overall')

    rankings = {
        **{name: ranking('abs', pair) for name, pair in PAIRS.items()},
        'activation': ranking('mean_activation', 'flip_image'),
        'position': probe.ranking(layer),
        'left': ranking('signed', 'flip_image', 'left'),
        'right': ranking('signed', 'flip_image', 'right'),
        'code left': probe.ranking(layer, 'left_right'),
    }
    return finished(rankings, {'random': live_orders(probe, layer)}, probe)


def code_rankings(probe: LocationProbe, layer: str) -> dict[str, Ranking]:
    """Left and right by the position code, one contrast from both ends, and random orders from both ends."""
    code, draws = probe.ranking(layer, 'left_right'), live_orders(probe, layer)
    back = replace(code, scores=[-score for score in code.scores], order=code.order[::-1])
    orders = {'random': draws, 'reversed': [draw[::-1] for draw in draws]}
    return finished({'code left': code, 'code right': back}, orders, probe)


def matched_rankings(probe: LocationProbe, layer: str, sweep: Path) -> dict[str, Ranking]:
    """Two rankings of a sweep that is done, and random orders that match each in mean activation, of live channels."""
    known, orders = Sweep.load(sweep / 'part0').plan.rankings, {}
    live = sorted({*range(probe.channels[layer])} - {*inert_channels(probe, layer)})
    activation = np.take(known['activation'].scores, live)
    rankings = {name: known[name] for name in ('Eq. 2', 'position')}
    for name, ranking in rankings.items():
        among = replace(
            ranking, scores=np.take(ranking.scores, live), order=[*map(live.index, ranking.order[: len(live)])]
        )
        draws = [matched_random_channels(among, activation, len(live), seed) for seed in range(NUM_RANDOM)]
        orders[f'{name} matched'] = [[live[i] for i in draw] for draw in draws]
    return finished(rankings, orders, probe)


def swept(net: nn.Module, data: CamVid, rankings: Callable[[], dict], num: Sequence[int], place: Path) -> Sweep:
    """A sweep in parts of interleaved images."""
    metric, parts = MeanIoU(CLASSES, ignore_index=VOID), []
    for number in range(PARTS):
        folder = place / f'part{number}'
        if not (folder / 'sweep_counts.npz').exists():  # Saved after sweep.json.
            part = DataLoader(CamVid(data.files[number::PARTS], data.mean, data.std))
            named = parts[0].plan.rankings if parts else rankings()
            sweep_channels(net, part, named, num, metric, num_random=0, num_matched=0).save(folder)
            print(f'{folder} is done', flush=True)
        parts.append(Sweep.load(folder))
    return replace(parts[0], counts=torch.cat([part.counts for part in parts]))


def summarise(sweep: Sweep, inert: int) -> dict:
    """What is reported of a sweep: harm, tests, double dissociation, rank correlations."""
    (layer,), regions, harm = sweep.layers, ('overall', 'left', 'right'), sweep.harm
    rankings = {name: ranking for name, ranking in sweep.plan.rankings.items() if ranking.statistic != 'random'}
    drawn: dict[str, list[str]] = {}
    for name in sweep.rankings:
        if name not in rankings:
            drawn.setdefault(name.rsplit(' ', 1)[0], []).append(name)

    def harms(names: Sequence[str], region: str) -> Tensor:
        return torch.stack([harm(name, region) for name in names])

    def both(names: Sequence[str]) -> Tensor:
        return torch.stack([harms(names, half) for half in regions[1:]], dim=1)

    bands, claims, rows = {}, [], []
    for region in regions:
        for name in rankings:
            null = f'{name} matched' if f'{name} matched' in drawn else 'random'
            test = chance_test(harm(name, region), harms(drawn[null], region))
            row = dict(layer=layer, region=region, ranking=name, harm=float(test.harm.mean()))
            claims.append({**row, 'random': float(test.random.mean()), 'p': test.p})
            ends = {'mean': 0 * test.low, 'low': test.low, 'high': test.high}
            bands.setdefault(region, {end: (test.random + shift).tolist() for end, shift in ends.items()})
    if 'reversed' in drawn:
        rows = dissociation(*both(['code left', 'code right']), both(drawn['random']), both(drawn['reversed'])).table()
    elif 'left' in rankings:
        left, right, overall = both(['left', 'right', 'Eq. 2'])
        rows = dissociation(left, right, both(drawn['random']), overall=overall).table()
    live = rankings[next(iter(rankings))].order[: sweep.plan.total - inert]
    scores = {name: np.take(ranking.scores, live) for name, ranking in rankings.items()}
    return dict(
        layer=layer,
        channels=sweep.plan.total,
        inert=inert,
        num_channels=sweep.plan.num_channels,
        num_random=NUM_RANDOM,
        ranked_images={name: ranking.num_images for name, ranking in rankings.items()},
        reliability={name: ranking.reliability for name, ranking in rankings.items()},
        test_images=len(sweep.counts),
        mIoU={region: sweep.whole(sweep.harm_of, region) for region in regions},
        aAcc=sweep.whole('aAcc'),
        harm={region: {name: harm(name, region).tolist() for name in rankings} for region in regions},
        random=bands,
        claims=claims,
        dissociation=[{k: None if v != v else v for k, v in row.items()} for row in rows],
        spearman={a: {b: float(spearmanr(scores[a], scores[b]).statistic) for b in scores} for a in scores},
    )


@styled
def draw(results: dict) -> object:
    """Fig. 4 (left) and Fig. 6 (middle and right), a row for each layer."""
    layers = [found for found in results.values() if 'left' in found['harm']['overall']]
    figure, places = panels(len(layers), 3, 3.5, 2.6, sharey='row')
    sided = ('left', 'right', 'code left')
    styles = line_styles([*sided, 'Eq. 2', 'roll', 'activation', 'position', 'vertical'])
    for found, row in zip(layers, places, strict=True):
        numbers = found['num_channels']
        width = 4 if len(numbers) == 1 else 0  # A single N is a point, and its band a bar.
        across = [numbers[0] - width, *numbers[1:-1], numbers[-1] + width]
        for region, axis in zip(('overall', 'left', 'right'), row, strict=True):
            low, mean, high = (
                np.resize(found['random'][region][name], len(across)) for name in ('low', 'mean', 'high')
            )
            axis.fill_between(across, low, high, color=GREY, alpha=0.25, lw=0, label='95% of random orders')
            axis.plot(across, mean, '--', color=GREY, label='random orders, mean')
            for i, (name, harm) in enumerate(found['harm'][region].items()):
                if (name in sided) != (region == 'overall') or name == 'Eq. 2':
                    shift = width * (i / len(found['harm'][region]) - 0.5)
                    axis.plot(np.add(numbers, shift), harm, **styles[name], label=name)
            axis.axhline(0, color='black', linewidth=0.8)
            where = 'whole image' if region == 'overall' else f'{region} half'
            axis.set(title=f'{found["layer"]}, {where}', xlabel='channels ablated')
            axis.grid(True)
        row[0].set_ylabel('loss of mIoU, points')
    shared_legend(figure, 6)
    return figure


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--espnet', type=Path, required=True, help="checkout of the authors' repository")
    parser.add_argument('--data', type=Path, default='data/camvid', help='folder of CamVid (default: data/camvid)')
    parser.add_argument('--out', type=Path, required=True, help='folder for the results')
    args = parser.parse_args()
    torch.set_flush_denormal(True)  # Many weights are denormal; on a CPU the network is six times as fast without.
    files = {part: sorted((args.data / part).glob('*.png')) for part in ('train', 'val', 'test')}
    statistics = image_statistics(files['train'])
    ranked, tested = CamVid(files['train'] + files['val'], *statistics), CamVid(files['test'], *statistics)
    net, results = load_espnet(args.espnet), {}
    if not (args.out / 'probe.json').exists():
        probe_location(net, random_patches(ranked), LAYERS, controls=()).save(args.out / 'probe.json')
    probe = LocationProbe.load(args.out / 'probe.json')
    for name, (layer, numbers) in SWEEPS.items():
        if name == 'end-matched':
            rankings = partial(matched_rankings, probe, layer, args.out / 'end')
        elif name == 'end-code':
            rankings = partial(code_rankings, probe, layer)
        else:
            rankings = partial(image_rankings, net, ranked, probe, layer)
        found = swept(net, tested, rankings, numbers, args.out / name)
        results[name] = summarise(found, len(inert_channels(probe, layer)))
        atomic_write(args.out / 'espnet.json', json.dumps(results, indent=1) + '\n')
    with open(args.out / 'claims.csv', 'w', newline='') as file:
        claims = [{'sweep': name, **row} for name, found in results.items() for row in found['claims']]
        writer = csv.DictWriter(file, claims[0], lineterminator='\n')
        writer.writeheader()
        writer.writerows({k: f'{v:.4f}' if isinstance(v, float) else v for k, v in row.items()} for row in claims)
    save_figure(draw(results), args.out / 'espnet.png')


if __name__ == '__main__':
    main()
