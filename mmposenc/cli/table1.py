"""Table 1: its experiments, the paper's numbers, and what runs have reached."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

GRID_SIZES = (3, 5, 7)
NETS = ('gapnet', 'permutenet', 'sortnet', 'sumnet')
PADDINGS = ('zeros', 'reflect', 'replicate')
TASKS = ('location', 'category')
BOUNDS = ('sortnet', 'sumnet')

# Table 1 of the paper, in %: 3x3, 5x5, 7x7.
_PAPER = {
    ('location', 'zeros', 'gapnet'): (100.0, 100.0, 100.0),
    ('location', 'zeros', 'permutenet'): (78.8, 37.8, 21.4),
    ('location', 'reflect', 'gapnet'): (100.0, 100.0, 100.0),
    ('location', 'reflect', 'permutenet'): (78.3, 36.3, 23.2),
    ('location', 'replicate', 'gapnet'): (100.0, 100.0, 100.0),
    ('location', 'replicate', 'permutenet'): (78.3, 40.1, 23.6),
    ('category', 'zeros', 'gapnet'): (82.6, 82.4, 82.1),
    ('category', 'zeros', 'permutenet'): (73.6, 72.2, 69.9),
    ('category', 'reflect', 'gapnet'): (83.8, 83.4, 82.9),
    ('category', 'reflect', 'permutenet'): (71.1, 71.4, 65.7),
    ('category', 'replicate', 'gapnet'): (83.1, 82.9, 82.8),
    ('category', 'replicate', 'permutenet'): (72.0, 71.5, 71.4),
}
_LAST_EPOCH_OF = 'accuracy/top1'
# What makes two runs the same experiment: not the logs, the work directory or the place that a run resumes from.
_SETTINGS = (
    'model',
    'data_preprocessor',
    'train_dataloader',
    'val_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'randomness',
)


@dataclass(frozen=True)
class Experiment:
    """One cell of Table 1, or of the bounds that stand beside it (ours: sortnet, sumnet)."""

    task: str
    padding: str
    net: str
    grid_size: int

    @property
    def config(self) -> str:
        """Name of the config, without folder and suffix."""
        padding = '' if self.padding == 'zeros' else f'-{self.padding}'
        return f'{self.net}_r18{padding}_grid{self.grid_size}-{self.task}_cifar10'

    @property
    def paper(self) -> float | None:
        """The paper's accuracy in %, None where it has none."""
        row = _PAPER.get((self.task, self.padding, self.net))
        return None if row is None else row[GRID_SIZES.index(self.grid_size)]


@dataclass(frozen=True)
class Result:
    """What a finished run reached in its last epoch, in % (Table 1)."""

    experiment: Experiment
    seed: int
    epochs: int
    accuracy: float

    def to_dict(self) -> dict:
        """One flat record, the paper's number beside the run's."""
        paper = self.experiment.paper
        return {**asdict(self.experiment), 'seed': self.seed, 'epochs': self.epochs} | {
            'accuracy': self.accuracy,
            'paper': paper,
        }


def choose(
    tasks: Sequence[str] = TASKS,
    paddings: Sequence[str] = PADDINGS,
    nets: Sequence[str] = NETS,
    grid_sizes: Sequence[int] = GRID_SIZES,
) -> list[Experiment]:
    """The experiments of Table 1 that have the given properties, in the table's order.

    The bounds exist for the location with zero padding only.

    Raises:
        ValueError: If there is none.
    """
    chosen = [
        Experiment(task, padding, net, grid_size)
        for task in TASKS
        for padding in PADDINGS
        for net in NETS
        for grid_size in GRID_SIZES
        if task in tasks and padding in paddings and net in nets and grid_size in grid_sizes
        if net not in BOUNDS or (task, padding) == ('location', 'zeros')
    ]
    if not chosen:
        raise ValueError(
            f'no experiment has task {"/".join(tasks)}, padding {"/".join(paddings)}, net {"/".join(nets)} and grid '
            f'{"/".join(map(str, grid_sizes))}; {" and ".join(BOUNDS)} exist for location with zeros padding only'
        )
    return chosen


def run_folder(work_dir: str | Path, experiment: Experiment, seed: int) -> Path:
    """Where the run of an experiment lies (Table 1)."""
    return Path(work_dir, experiment.config, f'seed{seed}')


def read_result(work_dir: str | Path, experiment: Experiment, seed: int) -> Result | None:
    """The figure of a run's last epoch, None if it has not got there (Table 1).

    The run's own copy of its config says which epoch is the last. The best epoch is not looked for: choosing it by the
    test set would be a selection on the test set.
    """
    folder = run_folder(work_dir, experiment, seed)
    config = folder / f'{experiment.config}.py'
    if not config.is_file():
        return None
    epochs = Config.fromfile(config).train_cfg.max_epochs
    accuracy = None
    for log in sorted(folder.glob('*/vis_data/scalars.json')):
        for record in _records(log):
            if _LAST_EPOCH_OF in record and record.get('step') == epochs:
                accuracy = record[_LAST_EPOCH_OF]
    return None if accuracy is None else Result(experiment, seed, epochs, accuracy)


def check_settings(work_dir: str | Path, experiment: Experiment, seed: int, wanted: Config) -> None:
    """Refuse to count a run of other settings as this one, or to resume it as this one (Table 1).

    Raises:
        ValueError: If the run's own copy of its config differs in what decides its figure.
    """
    folder = run_folder(work_dir, experiment, seed)
    path = folder / f'{experiment.config}.py'
    if not path.is_file():
        return
    had = Config.fromfile(path)
    different = [key for key in _SETTINGS if _decisive(had, key) != _decisive(wanted, key)]
    if different:
        raise ValueError(
            f'{folder} holds a run with other settings ({", ".join(different)} differ: see {path}); '
            'give another --work-dir, or remove the folder'
        )


def _decisive(cfg: Config, key: str) -> Any:
    """A setting; of the training loop what it does, not which class does it."""
    value = cfg.get(key)
    if key == 'train_cfg' and value:
        return {name: value[name] for name in value if name not in ('type', 'by_epoch')}
    return value


def format_table(experiments: Iterable[Experiment], results: Iterable[Result]) -> str:
    """Table 1, ours beside the paper's in brackets, a dash where a run is missing."""
    reached: dict[Experiment, list[float]] = {}
    for result in results:
        reached.setdefault(result.experiment, []).append(result.accuracy)
    experiments = list(experiments)
    grid_sizes = sorted({experiment.grid_size for experiment in experiments})
    rows = [['task', 'padding', 'net', *(f'{n}x{n} (paper)' for n in grid_sizes)]]
    for row in dict.fromkeys((e.task, e.padding, e.net) for e in experiments):
        cells = [Experiment(*row, n) for n in grid_sizes]
        rows.append([*row, *(_cell(reached.get(cell, []), cell.paper) for cell in cells)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cell(accuracies: list[float], paper: float | None) -> str:
    if not accuracies:
        ours = '-'
    elif len(accuracies) == 1:
        ours = f'{accuracies[0]:.2f}'
    else:
        ours = f'{statistics.mean(accuracies):.2f} +- {statistics.stdev(accuracies):.2f}, n={len(accuracies)}'
    return ours if paper is None else f'{ours} ({paper:g})'


def _records(log: Path) -> Iterable[dict]:
    for line in log.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:  # the last line of a run that was killed
            continue
