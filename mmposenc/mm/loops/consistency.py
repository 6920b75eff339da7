"""The evaluation loop that measures accuracy and consistency under shifts in one pass over the data."""

from collections.abc import Sequence
from numbers import Integral

import torch
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, ValLoop, autocast
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import DataLoader

from mmposenc.mm.metrics.shift_consistency import ShiftConsistencyMetric
from mmposenc.registry import LOOPS
from mmposenc.shifts import ShiftedViews
from mmposenc.shifts.consistency import ConsistencyCard, make_card, predict_views


@LOOPS.register_module()
class ShiftConsistencyLoop(ValLoop):
    """Top-1 and Cons.N of any classifier, several N and protocols in one pass (Sec. 4.1, Table 2).

    The shifts act on the normalised images, on the device. The loop serves as validation and as test loop, and gives
    the evaluator's other metrics the reference predictions. It refuses images that differ in size or are padded.

    Args:
        dataloader: Its samples carry their position in the data set (`sample_idx`, which mmpretrain's `PackInputs`
            keeps, or the `indices` of a whole batch).
        evaluator: `ShiftConsistencyMetric` is added where it is missing.
        max_shifts, protocols, seed, crop_size: As in `mmposenc.shift_consistency`.
        fp16: Run the model under autocast.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        max_shifts: Sequence[int] = (8,),
        protocols: Sequence[str] = ('zero_ref',),
        seed: int = 0,
        crop_size: int | None = None,
        fp16: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self.num_samples = len(self.dataloader.dataset)
        self.views = ShiftedViews(max_shifts, protocols, self.num_samples, seed, crop_size)
        own = [metric for metric in self.evaluator.metrics if isinstance(metric, ShiftConsistencyMetric)]
        # Kept apart from the evaluator, which refuses a second 'accuracy/top1' beside mmpretrain's Accuracy.
        self.consistency = own[0] if own else ShiftConsistencyMetric()
        self.evaluator.metrics = [metric for metric in self.evaluator.metrics if metric not in own]
        self._image_sizes: set[tuple[int, ...]] = set()

    @property
    def card(self) -> ConsistencyCard:
        """What the last run measured."""
        return make_card(self.views, self.consistency.totals)

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Launch the evaluation and return the figures."""
        stage = 'test' if getattr(self.runner, '_test_loop', None) is self else 'val'
        call = self.runner.call_hook
        self.consistency.results.clear()
        self._image_sizes.clear()
        call(f'before_{stage}')
        call(f'before_{stage}_epoch')
        self.runner.model.eval()
        for idx, data_batch in enumerate(self.dataloader):
            call(f'before_{stage}_iter', batch_idx=idx, data_batch=data_batch)
            outputs = self.predict(data_batch)
            self.consistency.process(data_batch, outputs)
            if self.evaluator.metrics:
                self.evaluator.process(data_samples=outputs, data_batch=data_batch)
            call(f'after_{stage}_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)
        metrics = {**self.evaluator.evaluate(self.num_samples), **self.consistency.evaluate(self.num_samples)}
        call(f'after_{stage}_epoch', metrics=metrics)
        call(f'after_{stage}')
        return metrics

    def predict(self, data_batch: dict) -> list[BaseDataElement]:
        """Samples of a batch with label, reference prediction and `shift_predictions`, a pair of labels per figure."""
        model = self.runner.model.module if is_model_wrapper(self.runner.model) else self.runner.model
        data = model.data_preprocessor(data_batch, False)
        images, samples = data['inputs'], data.get('data_samples')
        self._check_images(images, data_batch)
        indices = self._check_samples(samples)
        labels = torch.cat([sample.gt_label for sample in samples]).cpu()

        def score(view: Tensor) -> object:
            with autocast(enabled=self.fp16):
                scores = model(view, samples, mode='tensor')
            if not isinstance(scores, Tensor):
                raise TypeError(f"mode='tensor' must return scores, got {type(scores).__name__}; add a head")
            return scores

        predicted, scores = predict_views(score, self.views, images, indices, labels)
        probabilities, predicted = scores.float().softmax(1).cpu(), predicted.cpu()
        pairs = predicted[:, 1:].unflatten(1, (-1, 2)).tolist()
        for i, sample in enumerate(samples):
            sample.gt_label, sample.pred_label, sample.pred_score = labels[i, None], predicted[i, :1], probabilities[i]
            sample.shift_predictions = dict(zip(self.views.keys, pairs[i], strict=True))
        return samples

    def _check_images(self, images: Tensor, data_batch: dict) -> None:
        """Raise unless all images of the pass so far had one size, which the preprocessor left alone."""
        if not isinstance(images, Tensor) or images.ndim != 4:
            raise TypeError(f'a batch must be one tensor (N, C, H, W) after preprocessing, got {type(images).__name__}')
        size, sizes, whole = tuple(images.shape[-2:]), self._image_sizes, 'labels' in data_batch
        # A whole batch may be composed to something larger, such as a grid.
        sizes |= {size} if whole else {tuple(image.shape[-2:]) for image in data_batch['inputs']}
        if len(sizes) > 1:
            raise ValueError(f'all images must have one size, got {sorted(sizes)}; resize them in the test pipeline')
        if size not in sizes:
            padded = f'padded images of {sorted(sizes)} px to {size}, and the padding would be shifted with them'
            raise ValueError(f'the data preprocessor {padded}; resize them in the test pipeline')

    def _check_samples(self, samples: list[BaseDataElement] | None) -> list[int]:
        """Their positions in the data set; raises unless each has one and a label."""
        if not samples or any('gt_label' not in sample or sample.gt_label.numel() != 1 for sample in samples):
            raise ValueError('every sample needs one gt_label, got none or several; use a data set with one label each')
        indices, last = [sample.get('sample_idx') for sample in samples], self.num_samples - 1
        if not all(isinstance(index, Integral) and 0 <= int(index) <= last for index in indices):
            got = f"its position in the data set, got {indices[:8]}; keep 'sample_idx' in the meta_keys of PackInputs"
            raise ValueError(f'every sample needs a sample_idx from 0 to {last}, {got}')
        return indices
