"""What a sweep counts of each image: pixels of a segmentation network, hits of a classifier, boxes of a detector."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._pytree import tree_leaves

from mmposenc.channels.ablation import ablate_channels
from mmposenc.channels.detections import DetectionMetric
from mmposenc.channels.shared_heads import VariantLogits
from mmposenc.channels.sweep_plan import Rates, SweepOrder, SweepPlan
from mmposenc.channels.variants import CPU_BYTES, PlanForwards
from mmposenc.mm.detection import true_boxes
from mmposenc.mm.heads import SharedHead, find_head
from mmposenc.regions import MeanIoU, confusion_margins, count_strips
from mmposenc.shifts import ShiftedViews

_NAN = 'the scores must be numbers, got NaN: check the checkpoint'


class SweepCounts:
    """Counts of each image in each run of a plan, of a model without wrappers in evaluation mode.

    Args:
        level: '1': every variant is a forward of its own; '2': they share what comes before the layer; 'auto': the
            highest that the model and the layer allow.
        memory, say, reuse, options: Of `VariantForwards`.
    """

    levels: tuple[str, ...] = ('auto', '1', '2')

    def __init__(
        self,
        model: Any,
        plan: SweepPlan,
        level: str = 'auto',
        memory: float = 1024,
        say: Callable[[str], None] = print,
        reuse: bool = True,
        **options: Any,
    ) -> None:
        if level not in self.levels:
            raise ValueError(f'level must be one of {", ".join(self.levels)} for {type(model).__name__}, got {level!r}')
        self.forwards = PlanForwards(model, plan, memory=memory, reuse=reuse and level != '1', say=say, **options)
        self.model, self.plan, self.say, self.bytes = model, plan, say, memory * 2**20


class SegmentationCounts(SweepCounts):
    """Labelled and predicted pixels of each class, strip and run (Fig. 4 and 6), of a segmentor of mmseg.

    At level 3 the variants share the convolutions of the head too; see `mmposenc.mm.heads`. With `allow_slide` channels
    are ablated in every window.
    """

    levels = 'auto', '1', '2', '3'

    def __init__(
        self,
        model: Any,
        plan: SweepPlan,
        metric: MeanIoU,
        level: str = 'auto',
        allow_slide: bool = False,
        **options: Any,
    ) -> None:
        whole = (model.test_cfg or {}).get('mode', 'whole') == 'whole'
        super().__init__(model, plan, level, reuse=whole, stack=False, allow_repeats=allow_slide, **options)
        self.metric = metric
        self.heads: dict[str, SharedHead] = {}
        self._checked: set[str] = set()
        for layer in plan.layers:
            head, reason = find_head(model, layer) if whole else (None, 'windows slide over the images')
            if level == '3' and head is None:
                raise ValueError(f'level 3 is not possible at {layer!r}: {reason}. Use level 2 or auto')
            if head is not None and level in ('auto', '3'):
                self.heads[layer] = head
            self.say(f'sweep at {layer}: level {self.level(layer)}' + (f', {reason}' if level in ('auto', '3') else ''))

    def level(self, layer: str) -> int:
        """How much the variants at a layer share."""
        return 3 if layer in self.heads else 1 + self.forwards[layer].reuse

    @torch.no_grad()
    def count(self, data: dict, positions: Sequence[int]) -> Tensor:
        """Count one batch, as the data preprocessor gives it: int32 (images, runs, strips, 3, classes)."""
        inputs, samples = data['inputs'], data['data_samples']
        if any('gt_sem_seg' not in sample for sample in samples):
            raise ValueError('a sample has no gt_sem_seg: put LoadAnnotations into the test pipeline')
        maps = [sample.gt_sem_seg.data.squeeze(0).to(inputs.device) for sample in samples]
        counters = [_PixelCounter(labels, self.plan.num_runs, self.metric, self.bytes / 4) for labels in maps]

        def predict() -> list[Any]:
            return self.model(inputs, samples, mode='predict')

        def labels(copies: int) -> list[Tensor]:
            found = predict()
            if any(_scores(sample).isnan().any() for sample in found):
                raise ValueError(_NAN)
            return [sample.pred_sem_seg.data for sample in found]

        def scores(copies: int) -> Tensor:
            return torch.cat([_scores(sample).flatten() for sample in predict()])

        seen: dict[str, list[dict[str, Tensor]]] = {}
        for layer, head in [*self.heads.items()]:
            with head.record() as record:
                predict()
            seen[layer] = [{name: tensor[i : i + 1] for name, tensor in record.items()} for i in range(len(samples))]
            if not self._agrees(layer, seen[layer][0], samples[0], predict):
                del self.heads[layer]
        for run, predictions in self.forwards.run(labels, scores, leave_out=self.heads):
            for counter, prediction in zip(counters, predictions, strict=True):
                counter.add([run], prediction)
        for layer, head in self.heads.items():
            for image, sample, counter in zip(seen[layer], samples, counters, strict=True):
                self._count_variants(head.variants(image), self.plan.orders_at(layer), sample, counter)
        return torch.stack([counter.total() for counter in counters])

    def _count_variants(
        self, variants: VariantLogits, orders: Sequence[SweepOrder], sample: Any, counter: '_PixelCounter'
    ) -> None:
        # As many at once as the memory holds.
        height, width = sample.metainfo.get('pad_shape', sample.metainfo['img_shape'])[:2]
        one = variants.variant_bytes + height * width * (8 * self.model.decode_head.out_channels + 16)
        on_cpu = sample.gt_sem_seg.data.device.type == 'cpu'
        chunk = max(int((min(self.bytes / 2, CPU_BYTES) if on_cpu else self.bytes / 2) // one), 1)
        for order in orders:
            for places, logits in variants.logits(order.order, order.slices, chunk):
                counter.add([order.runs[place] for place in places], self._final(logits, sample)[1])

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
        orders = self.plan.orders_at(layer)
        if layer in self._checked or not orders:
            return True
        self._checked.add(layer)
        order, (start, stop) = orders[0].order, orders[0].slices[0]
        with ablate_channels(self.model, layer, order[start:stop], num_channels=self.plan.total):
            expected = _scores(predict()[0])
        ((_, logits),) = self.heads[layer].variants(seen).logits(order, [(start, stop)], 1)
        found = self._final(logits, sample)[0][0]
        # TF32 on a GPU is coarse; what is looked for is a head that computes something else.
        if found.shape == expected.shape and (found - expected).abs().max() <= 0.02 * expected.abs().max():
            return True
        self.say(f'sweep at {layer}: not level 3, as its first variant differs from a plain forward')
        return False


class _PixelCounter:
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
            self.total()

    def total(self) -> Tensor:
        if self._runs:
            predictions, metric = torch.cat(self._predictions), self._metric
            counts = count_strips(self._labels, predictions, self._num_classes, metric.strips, metric.ignore_index)
            self._counts[self._runs] = confusion_margins(counts).int().cpu()
            self._runs, self._predictions = [], []
        return self._counts


class ClassificationCounts(SweepCounts):
    """Top-1 and consistency under shifts of each run (the figures of Table 2, swept), of a classifier of mmpretrain.

    `max_shift` is N of Cons.N by the protocol `zero_ref`, px; 0 leaves it out.
    """

    def __init__(self, model: Any, plan: SweepPlan, num_images: int, max_shift: int = 8, **options: Any) -> None:
        super().__init__(model, plan, **options)
        self.views = ShiftedViews([max_shift], ['zero_ref'], num_images) if max_shift else None
        self.metric = Rates(['top1', *(self.views.keys if self.views else ())])
        self._checked = False

    @torch.no_grad()
    def count(self, data: dict, positions: Sequence[int]) -> Tensor:
        """Count one batch, as the data preprocessor gives it: (images, runs, figures + 1), see `Rates`."""
        images, samples = data['inputs'], data['data_samples']
        if any('gt_label' not in sample or sample.gt_label.numel() != 1 for sample in samples):
            raise ValueError('a sweep needs one gt_label for each image: use a data set with one label each')
        labels = torch.cat([sample.gt_label for sample in samples]).to(images.device)
        reference = self._labels(images, samples)
        if not self._checked:
            predicted = self.model(images, [sample.new() for sample in samples], mode='predict')
            if [sample.pred_label.tolist() for sample in predicted] != reference[0, :, None].tolist():
                raise ValueError(
                    f'{type(self.model).__name__} predicts other classes than those with the largest score of '
                    "mode='tensor', so its Top-1 cannot be swept"
                )
            self._checked = True
        hits = [reference == labels]
        if self.views is not None:
            shifted = self.views.shifted(self.views.keys[0], images, positions)
            hits += [self._labels(view, samples) == reference for view in shifted]
        return self.metric.count(torch.stack(hits, dim=-1).transpose(0, 1), None).cpu()

    def _labels(self, images: Tensor, samples: list[Any]) -> Tensor:
        """Predicted labels (runs, images)."""
        labels = torch.empty(self.plan.num_runs, len(images), dtype=torch.int64, device=images.device)

        def forward(copies: int) -> Tensor:
            scores = self.model(images.repeat(copies, 1, 1, 1), samples * copies, mode='tensor')
            if not isinstance(scores, Tensor):
                got = f"mode='tensor' must give one tensor of scores, got {type(scores).__name__}"
                raise ValueError(f'the Top-1 of {type(self.model).__name__} cannot be swept: {got}')
            return scores

        for run, scores in self.forwards.run(forward):
            labels[run] = scores.argmax(1).masked_fill(scores.isnan().any(1), -1)
        if (labels < 0).any():
            raise ValueError(_NAN)
        return labels


class DetectionCounts(SweepCounts):
    """Detections of each run, matched to the boxes of the data set, of a detector of mmdet."""

    def __init__(self, model: Any, plan: SweepPlan, metric: DetectionMetric, data_set: Any, **options: Any) -> None:
        super().__init__(model, plan, stack=False, **options)
        self.metric, self.data_set = metric, data_set

    @torch.no_grad()
    def count(self, data: dict, positions: Sequence[int]) -> Tensor:
        """Count one batch, as the data preprocessor gives it: (images, runs, detections, 4), see `DetectionMetric`."""
        truths = [true_boxes(self.data_set, position) for position in positions]
        counts = torch.empty(len(truths), self.plan.num_runs, self.metric.max_detections, 4)

        def detections(copies: int) -> list[Any]:
            samples = self.model(data['inputs'], data['data_samples'], mode='predict')
            return [sample.pred_instances for sample in samples]

        def scores(copies: int) -> Tensor:
            outputs: list[Tensor] = []  # of the heads: all there is before thresholds and suppression

            def note(module: nn.Module, given: Any, output: Any) -> None:
                if type(module).__name__.endswith('Head'):
                    outputs.extend(leaf.flatten().float() for leaf in tree_leaves(output) if isinstance(leaf, Tensor))

            with register_module_forward_hook(note):
                detections(copies)
            if not outputs:
                raise ValueError(f'{type(self.model).__name__} has no module whose name ends in Head: sweep at level 1')
            return torch.cat(outputs)

        for run, found in self.forwards.run(detections, scores):
            boxes = [dict(boxes=one.bboxes.cpu(), scores=one.scores.cpu(), labels=one.labels.cpu()) for one in found]
            counts[:, run] = self.metric.count(boxes, truths)
        return counts


def _scores(sample: Any) -> Tensor:
    return sample.seg_logits.data if 'seg_logits' in sample else sample.pred_sem_seg.data.float()
