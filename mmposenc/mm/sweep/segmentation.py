"""What a sweep counts of a segmentation network."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mmposenc.channels.ablation import ablate_channels
from mmposenc.channels.shared_heads import VariantLogits
from mmposenc.channels.sweep_plan import SweepPlan
from mmposenc.channels.variants import CPU_BYTES, VariantForwards
from mmposenc.layers import find_module
from mmposenc.mm.heads import SharedHead, find_head
from mmposenc.regions import MeanIoU, confusion_margins, count_strips

LEVELS = ('auto', '1', '2', '3')


class SegmentationSweep:
    """Labelled and predicted pixels of each class, strip and run, image by image (Fig. 4 and 6).

    At level 1 every variant is a forward of its own. At level 2 what comes before the layer is shared; see
    `VariantForwards`. At level 3 so are the convolutions of the head; see `mmposenc.mm.heads`. 'auto' takes the highest
    one that the model and the layer allow.

    Args:
        model: A segmentor of mmseg, without wrappers, in evaluation mode.
        plan: What is swept.
        metric: With the names of the classes.
        level: One of `LEVELS`.
        memory: MiB for what is held of several variants at once; one variant is held in any case.
        allow_slide: Accept sliding windows, in each of which the channels are ablated.
        say: Gets a line for each layer on what is shared, or why it is not.

    Raises:
        ValueError: If a layer does not exist, or does not allow the level.
    """

    def __init__(
        self,
        model: Any,
        plan: SweepPlan,
        metric: MeanIoU,
        level: str = 'auto',
        memory: float = 1024,
        allow_slide: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        if level not in LEVELS:
            raise ValueError(f'level must be one of {", ".join(LEVELS)}, got {level!r}')
        self.model, self.plan, self.metric, self.say = model, plan, metric, say
        self.bytes = memory * 2**20
        self.heads: dict[str, SharedHead] = {}
        self.forwards: dict[str, VariantForwards] = {}
        self._checked: set[str] = set()
        whole = (model.test_cfg or {}).get('mode', 'whole') == 'whole'
        for layer in plan.layers:
            find_module(model, layer)
            head, reason = find_head(model, layer) if whole else (None, 'windows slide over the images')
            if level == '3' and head is None:
                raise ValueError(f'level 3 is not possible at {layer!r}: {reason}. Use level 2 or auto')
            self.forwards[layer] = VariantForwards(
                model,
                layer,
                plan.total,
                memory,
                whole and level != '1',
                stack=False,
                allow_repeats=allow_slide,
                say=say,
            )
            if head is not None and level in ('auto', '3'):
                self.heads[layer] = head
            say(f'sweep at {layer}: level {self.level(layer)}' + (f', {reason}' if level in ('auto', '3') else ''))

    def level(self, layer: str) -> int:
        """How much the variants at a layer share."""
        return 3 if layer in self.heads else 1 + self.forwards[layer].reuse

    @torch.no_grad()
    def count(self, data: dict, positions: Sequence[int]) -> Tensor:
        """Count one batch: int32 (images, runs, strips, 3, classes).

        Args:
            data: What the data preprocessor gives.
            positions: Of the images in the data set; not needed here.
        """
        inputs, samples = data['inputs'], data['data_samples']
        counters = [self._counter(sample, inputs.device) for sample in samples]

        def predict(copies: int = 1) -> list[Any]:
            return self.model(inputs, samples, mode='predict')

        def labels(copies: int = 1) -> list[Tensor]:
            return [sample.pred_sem_seg.data for sample in predict()]

        def scores(copies: int = 1) -> Tensor:
            return torch.cat([_scores(sample).flatten() for sample in predict()])

        seen: dict[str, dict[str, Tensor]] = {}
        for layer in [*self.heads]:
            with self.heads[layer].record() as seen[layer]:
                predict()
            if not self._agrees(layer, seen[layer], samples[0], predict):
                del self.heads[layer]
        for counter, prediction in zip(counters, labels(), strict=True):
            counter.add([0], prediction)
        for layer, forwards in self.forwards.items():
            orders = self.plan.orders_at([layer])
            if layer in self.heads:
                for image, counter in enumerate(counters):
                    variants = self.heads[layer].variants(_one(seen[layer], image))
                    self._count_variants(variants, orders, samples[image], counter)
                continue
            for run, predictions in forwards.run(orders, labels, scores):
                for counter, prediction in zip(counters, predictions, strict=True):
                    counter.add([run], prediction)
        return torch.stack([counter.total() for counter in counters])

    def _counter(self, sample: Any, device: torch.device) -> '_Counter':
        if 'gt_sem_seg' not in sample:
            raise ValueError(
                'a sweep needs label maps, but a sample has no gt_sem_seg: put LoadAnnotations into the test pipeline'
            )
        labels = sample.gt_sem_seg.data.squeeze(0).to(device)
        return _Counter(labels, self.plan.num_runs, self.metric, self.bytes / 4)

    def _count_variants(self, variants: VariantLogits, orders: Any, sample: Any, counter: '_Counter') -> None:
        chunk = self._chunk(variants, sample)
        for order in orders:
            for places, logits in variants.logits(order.order, order.slices, chunk):
                counter.add([order.runs[place] for place in places], self._final(logits, sample)[1])

    def _chunk(self, variants: VariantLogits, sample: Any) -> int:
        """How many variants the memory holds at once."""
        height, width = sample.metainfo.get('pad_shape', sample.metainfo['img_shape'])[:2]
        one = variants.variant_bytes + height * width * (8 * self.model.decode_head.out_channels + 16)
        on_cpu = sample.gt_sem_seg.data.device.type == 'cpu'
        limit = min(self.bytes / 2, CPU_BYTES) if on_cpu else self.bytes / 2
        return max(int(limit // one), 1)

    def _final(self, logits: Tensor, sample: Any) -> tuple[Tensor, Tensor]:
        """Logits (n, K, H, W) and labels (n, H, W) of one image for several variants, as `postprocess_result` does."""
        meta = sample.metainfo
        logits = self.model.decode_head.predict_by_feat(logits, [meta] * len(logits))
        if meta.get('flip') or logits.shape[1] == 1:
            copies = self.model.postprocess_result(logits, [sample.new(data={}) for _ in range(len(logits))])
            labels = torch.cat([copy.pred_sem_seg.data for copy in copies])
            return torch.stack([copy.seg_logits.data for copy in copies]), labels
        left, right, top, bottom = meta.get('img_padding_size', meta.get('padding_size', (0, 0, 0, 0)))
        height, width = logits.shape[-2:]
        logits = logits[..., top : height - bottom, left : width - right]
        size = tuple(meta['ori_shape'][:2])
        if size != tuple(logits.shape[-2:]):  # To the same size it would change nothing.
            logits = interpolate(logits, size, mode='bilinear', align_corners=self.model.align_corners)
        return logits, logits.max(1).indices  # As argmax, but on a CPU five times as fast.

    def _agrees(self, layer: str, seen: dict[str, Tensor], sample: Any, predict: Callable[[], list[Any]]) -> bool:
        """Compare one variant of the head with a plain forward; once for each layer."""
        if layer in self._checked:
            return True
        self._checked.add(layer)
        order = next((order for order in self.plan.orders_at([layer])), None)
        if order is None:
            return True
        start, stop = order.slices[0]
        with ablate_channels(self.model, layer, order.order[start:stop], num_channels=self.plan.total):
            expected = _scores(predict()[0])
        variants = self.heads[layer].variants(_one(seen, 0))
        (_, logits), *_ = variants.logits(order.order, [(start, stop)], 1)
        found = self._final(logits, sample)[0][0]
        # TF32 on a GPU is coarse; what is looked for is a head that computes something else.
        if found.shape == expected.shape and (found - expected).abs().max() <= 0.02 * expected.abs().max():
            return True
        self.say(f'sweep at {layer}: not level 3, as its first variant differs from a plain forward')
        return False


class _Counter:
    """Counts of one image: predictions are kept as bytes until there are enough of them, then counted at once."""

    def __init__(self, labels: Tensor, num_runs: int, metric: MeanIoU, limit: float) -> None:
        self._labels, self._metric, self._limit = labels, metric, limit
        self._num_classes = len(metric.classes or ())
        self._kind = torch.uint8 if self._num_classes <= 256 else torch.int32
        self._runs: list[int] = []
        self._predictions: list[Tensor] = []
        self._counts = torch.zeros(num_runs, len(metric.strips), 3, self._num_classes, dtype=torch.int32)

    def add(self, runs: list[int], predictions: Tensor) -> None:
        self._runs += runs
        self._predictions.append(predictions.to(self._kind))
        if sum(part.nbytes for part in self._predictions) >= self._limit:
            self._count()

    def total(self) -> Tensor:
        if self._runs:
            self._count()
        return self._counts

    def _count(self) -> None:
        predictions, metric = torch.cat(self._predictions), self._metric
        counts = count_strips(self._labels, predictions, self._num_classes, metric.strips, metric.ignore_index)
        self._counts[self._runs] = confusion_margins(counts).int().cpu()
        self._runs, self._predictions = [], []


def _scores(sample: Any) -> Tensor:
    return sample.seg_logits.data if 'seg_logits' in sample else sample.pred_sem_seg.data.float()


def _one(seen: dict[str, Tensor], image: int) -> dict[str, Tensor]:
    return {name: tensor[image : image + 1] for name, tensor in seen.items()}
