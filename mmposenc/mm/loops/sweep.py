"""The loop that gives every point of Fig. 4 and 6 in one pass over the runner's test data."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import barrier, broadcast_object_list, get_dist_info, is_main_process
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from mmposenc.channels.sweep import SweepPlan
from mmposenc.layers import eager_forwards
from mmposenc.layers import unwrap_model as inner_model
from mmposenc.mm.forwards import require_whole_images
from mmposenc.mm.hooks.channel_ablation import ChannelAblationHook
from mmposenc.mm.loops.data_share import loader_of
from mmposenc.mm.sweep.classification import ClassificationSweep
from mmposenc.mm.sweep.conditions import load_rankings, sweep_conditions
from mmposenc.mm.sweep.levels import choose_level, expected_passes, module_shares
from mmposenc.mm.sweep.random_control_table import control_summary
from mmposenc.mm.sweep.region_attack_table import attack_summary
from mmposenc.mm.sweep.segmentation import SegmentationSweep
from mmposenc.mm.sweep.store import SweepStore
from mmposenc.registry import LOOPS


@LOOPS.register_module()
class AblationSweepLoop(BaseLoop):
    """Sweeps N, rankings, windows, random draws, layers and regions over the test data, in place of a test (Fig. 4, 6).

    Any segmentor of mmseg (figures: mIoU, aAcc and IoU by region) or classifier of mmpretrain (Top-1 and Cons.N). The
    batches are those of consecutive images, dealt out to the processes and in the same composition after an
    interruption; a repeated call goes on where the last one ended. See `SweepStore` for the files.

    Args:
        runner: The runner.
        dataloader: Data loader, or its config; its sampler is not used.
        evaluator: Not used: a Runner gives it to any test loop.
        rankings: Files of rankings; each is called by its file's name without the suffix, or by its key in a dict.
        num_channels: The N of the top-N variants.
        window: Size of the windows; 0 for none.
        num_random: Number of random draws.
        layers: Where channels are switched off. Default: where the rankings are of.
        out: Folder of the result. Default: `sweep` in the work directory.
        level: 'auto', or 1, 2, 3: how much the variants share; see `SweepLevel`.
        memory_budget: MiB for what is held of several variants at once.
        regions: As `mmposenc.evaluation.RegionStrips` takes them.
        ignore_index: Label of pixels that are not counted.
        max_shift: N of a classifier's Cons.N, px; 0 leaves it out.
        allow_other_weights: Take rankings of other weights.

    Raises:
        ValueError: If an argument is not one of those above, the model is tested by sliding windows, a ranking does not
            fit it, or the folder holds another sweep.

    Example:
        >>> test_cfg = dict(type='mmposenc.AblationSweepLoop', rankings=['ranking.json'], num_channels=[0, 100, 200])
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Any = None,
        *,
        rankings: Sequence[str] | Mapping[str, str],
        num_channels: Sequence[int] = (),
        window: int = 0,
        num_random: int = 0,
        layers: Sequence[str] | None = None,
        out: str | None = None,
        level: str | int = 'auto',
        memory_budget: float = 1024,
        regions: Mapping[str, Sequence[float]] | None = None,
        ignore_index: int = 255,
        max_shift: int = 8,
        allow_other_weights: bool = False,
    ) -> None:
        if not 0 < memory_budget < float('inf'):
            raise ValueError(f'memory_budget must be above 0 MiB, got {memory_budget}')
        loaded = load_rankings(rankings)
        chosen = list(dict.fromkeys(ranking.layer for ranking in loaded.values())) if layers is None else layers
        self.plan = SweepPlan(loaded, chosen, num_channels, window, num_random)
        self.model = inner_model(runner.model)
        require_whole_images(runner.model)
        self.levels = {layer: choose_level(self.model, layer, str(level)) for layer in self.plan.layers}
        super().__init__(runner, dataloader)
        self.dataloader: DataLoader
        data_set = self.dataloader.dataset
        self.num_images = len(data_set)
        if not self.num_images:
            raise ValueError('the data set or the subset is empty, so there is nothing to sweep: check its ann_file')
        self.out = Path(runner.work_dir, 'sweep') if out is None else Path(out)
        self.allow_other_weights = allow_other_weights
        self.sweep: SegmentationSweep | ClassificationSweep
        if hasattr(self.model, 'decode_head'):
            classes = (getattr(data_set, 'metainfo', None) or {}).get('classes')
            if not classes:
                raise ValueError('the data set names no classes: give it metainfo=dict(classes=...)')
            if odd := [name for name in classes if not isinstance(name, str) or not name.isprintable()]:
                raise ValueError(f'the name of a class must be text of one line, got {odd[0]!r:.60}')
            budget = float(memory_budget)
            self.sweep = SegmentationSweep(self.model, self.plan, self.levels, classes, regions, ignore_index, budget)
        elif regions is not None:
            raise ValueError('regions are of segmentations, and the model is a classifier: leave them out')
        else:
            self.sweep = ClassificationSweep(self.model, self.plan, self.levels, self.num_images, max_shift)

    def run(self) -> dict[str, float]:
        """Sweep, write the files, and return the figures of the whole network."""
        if any(isinstance(hook, ChannelAblationHook) for hook in self.runner.hooks):
            raise ValueError('a sweep switches channels off itself: take ChannelAblationHook out of custom_hooks')
        for ranking in self.plan.rankings.values():
            ranking.check_model(self.model, self.allow_other_weights)
        conditions = sweep_conditions(self.runner, self.plan, self.levels, self.dataloader)
        store = SweepStore(self.out, {**conditions, **self.sweep.conditions})
        barrier()  # Nothing is written before every process has checked what is there.
        finished = [store.open() if is_main_process() else set()]
        broadcast_object_list(finished)
        batches = self._own_batches(finished[0])
        self.dataloader = loader_of(batches, self.dataloader)
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.model.eval()
        with eager_forwards(), _same_kernels():
            for idx, batch in enumerate(self.dataloader):
                self._run_iter(idx, batch, batches[idx], store)
        store.flush()
        barrier()
        results = [self._finish(store) if is_main_process() else {}]
        broadcast_object_list(results)
        self.runner.call_hook('after_test_epoch', metrics=results[0])
        self.runner.call_hook('after_test')
        return results[0]

    def _run_iter(self, idx: int, batch: dict, positions: list[int], store: SweepStore) -> None:
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=batch)
        data = self.model.data_preprocessor(batch, False)
        if not data.get('data_samples'):
            raise ValueError('a sweep needs labelled samples, but the batches have no data_samples')
        if idx == 0:
            self._announce(data)
        store.add(positions, self.sweep.count(data, positions).numpy())
        self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=batch, outputs=[])

    def _announce(self, data: dict) -> None:
        shares = module_shares(self.model, lambda: self.model(data['inputs'], data['data_samples'], mode='tensor'))
        for layer, (level, reason) in self.levels.items():
            self.runner.logger.info(f'sweep at {layer}: level {level}, {reason}')
        passes = expected_passes(self.plan, self.levels, shares)
        self.runner.logger.info(
            f'sweep: {len(self.plan.variants)} variants in {self.plan.num_runs} runs; by multiply-adds an image costs '
            f'{passes:.1f} whole forwards, where one forward a run costs {self.plan.num_runs}'
        )

    def _own_batches(self, finished: set[int]) -> list[list[int]]:
        """This process's share of the batches that are not counted yet."""
        size = self.dataloader.batch_size or 1
        batches = [list(range(i, min(i + size, self.num_images))) for i in range(0, self.num_images, size)]
        rank, world_size = get_dist_info()
        return [batch for batch in batches if not finished.issuperset(batch)][rank::world_size]

    def _finish(self, store: SweepStore) -> dict[str, float]:
        counts = torch.from_numpy(store.merge(self.num_images))
        for name, (head, rows) in self.sweep.tables(counts).items():
            store.write_table(name, head, rows)
            summarise = {'random_control.csv': control_summary, 'region_attack.csv': attack_summary}.get(name)
            for line in summarise(rows) if summarise else ():
                self.runner.logger.info(line)
        store.close()
        return self.sweep.summary(counts)


@contextmanager
def _same_kernels() -> Iterator[None]:
    """Let cuDNN choose by size alone, not by timing: an interrupted sweep must end with the same counts."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
