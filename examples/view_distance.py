"""How far apart features and logits of two shifted views are, with and without what the shift cuts off.

The distance term of AugShift (Eq. 1) pulls the pooled features of two views together. Two things differ between views:
where the image is, and what its shift has cut off. Here the first view is the image as it is, and the second is shifted
by up to `--max-shift` px, in two ways:

    cut    within the frame of the image: what leaves it is lost, zeros follow. These are the views of `zero_ref`.
    whole  on a canvas of zeros that is larger by `--max-shift` px on each side: nothing is lost, only moved.

The relative distance is the sum over channels of E (a - b)^2 over that of var a + var b, in %: 0 for equal views, 100
if the views of an image differ as much as those of different images. It does not change when features are scaled.
"""

import json
from argparse import ArgumentParser

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mmposenc.batches import evaluating, read_logits
from mmposenc.cli import common, models
from mmposenc.layers import record_pooled
from mmposenc.results import atomic_write
from mmposenc.shifts import random_shift


def relative_distance(first: Tensor, second: Tensor) -> float:
    """Of paired features (N, C), in %."""
    spread = first.var(0, correction=0).sum() + second.var(0, correction=0).sum()
    return 100 * ((first - second).square().sum(1).mean() / spread).item()


def outputs(model: nn.Module, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Pooled features of a layer, (N, C), and logits, (N, K)."""
    with record_pooled(model, layer) as pooled:
        logits = read_logits(model(images))
    return pooled.take(), logits


def main() -> None:
    parser = ArgumentParser(description=__doc__.partition('\n')[0])
    models.add_arguments(parser)
    parser.add_argument('--data', required=True, help='folder of a CIFAR archive, whose test images are used')
    parser.add_argument('--layer', default='neck', help='where the pooled features are (default: neck)')
    parser.add_argument('--max-shift', type=int, default=8, help='largest shift in px (default: 8)')
    parser.add_argument('--out', required=True, help='JSON file')
    args = parser.parse_args()
    model, known = models.build(args, args.model)
    models.load_weights(args, model, args.weights)
    data = models.Images(*models.read_cifar(args.data), known.transform(None, known.interpolation))
    found: dict[str, list[tuple[Tensor, ...]]] = {'cut': [], 'whole': []}
    torch.manual_seed(0)
    with torch.no_grad(), evaluating(model):
        for images, _ in torch.utils.data.DataLoader(data, 250):
            for views, canvas in (('cut', images), ('whole', pad(images, (args.max_shift,) * 4))):
                pairs = (canvas, random_shift(canvas, args.max_shift))
                found[views].append(tuple(part for view in pairs for part in outputs(model, view, args.layer)))
    figures = {}
    for views, batches in found.items():
        z1, s1, z2, s2 = (torch.cat(parts).double() for parts in zip(*batches, strict=True))
        figures[views] = dict(
            features=relative_distance(z1, z2),
            logits=relative_distance(s1, s2),
            consistency=100 * (s1.argmax(1) == s2.argmax(1)).double().mean().item(),
        )
        common.say(f'{views}: ' + ', '.join(f'{name} {value:.2f}%' for name, value in figures[views].items()))
    atomic_write(args.out, json.dumps(figures, indent=1) + '\n')


if __name__ == '__main__':
    main()
