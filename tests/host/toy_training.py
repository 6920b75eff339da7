"""A training of a second, with random numbers in its loss, and objects that call a function when unpickled."""

from itertools import count
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

import mmposenc.mm  # noqa: F401  (registers)

NUMBERS = count()  # mmengine keeps what belongs to a run by its name


class Calls:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple:
        return self.call


class Noisy(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor, mode: str = 'tensor') -> Any:
        noise = torch.rand(1)
        out = self.layer(torch.as_tensor(x, dtype=torch.float32).reshape(-1, 1) + noise)
        return dict(loss_a=out.square().mean(), loss_b=out.abs().mean()) if mode == 'loss' else [out]


class Score(BaseMetric):
    """Gives 1, 3, 2, 2, ..."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict[str, float]:
        self.calls += 1
        return dict(score=float((1, 3, 2)[min(self.calls, 3) - 1]))


class Losses(Hook):
    """What was trained and validated: (iteration, loss, samples) and ('val', iteration)."""

    def __init__(self) -> None:
        self.seen: list[tuple] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.seen.append((runner.iter + 1, outputs['loss'].item(), data_batch['x'].flatten().tolist()))

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        self.seen.append(('val', runner.iter))


class Samples:
    """Ten samples, which notes what is loaded of them."""

    def __init__(self) -> None:
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict:
        self.loaded.append(index)
        return dict(x=torch.tensor([float(index)]))


def toy_runner(work_dir: Path, train_cfg: dict, *hooks: Any, **options: Any) -> tuple[Runner, Losses]:
    """10 samples in batches of 2; a validation draws random numbers too."""
    losses = Losses()
    sampler = 'InfiniteSampler' if 'max_iters' in train_cfg else 'DefaultSampler'
    loader = dict(
        batch_size=2,
        num_workers=0,
        dataset=Samples(),
        sampler=dict(type=options.pop('sampler', sampler), shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    by_epoch = 'max_epochs' in train_cfg
    checkpoint = dict(type='mmposenc.AtomicCheckpointHook', interval=1 if by_epoch else 5, by_epoch=by_epoch)
    settings: dict[str, Any] = dict(
        train_dataloader=loader,
        val_dataloader={**loader, 'sampler': dict(type='DefaultSampler', shuffle=False)},
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        val_cfg=dict(),
        val_evaluator=[Score()],
        default_hooks=dict(checkpoint=checkpoint),
        custom_hooks=[losses, dict(type='mmposenc.RandomStateHook'), dict(type='mmposenc.StopSignalHook'), *hooks],
        randomness=dict(seed=1),
        experiment_name=f'toy{next(NUMBERS)}',
    )
    torch.manual_seed(0)
    return Runner(Noisy(), str(work_dir), train_cfg=train_cfg, **{**settings, **options}), losses


def train(*args: Any, **options: Any) -> tuple[Runner, list[tuple]]:
    """A `toy_runner` that has trained, and what it saw."""
    runner, losses = toy_runner(*args, **options)
    runner.train()
    return runner, losses.seen
