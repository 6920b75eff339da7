"""Train Table 1, or any part of it, and print it beside the paper's numbers.

Finished runs are skipped, and a run that was stopped resumes from its last checkpoint: give the same command again.
SIGTERM and SIGUSR1 are passed on to the runs, which save and end. The figure of a run is that of its last epoch. Under
--work-dir: a folder per run, table1.json and table1.png. A large GPU has room for several runs at once (--jobs); each
then writes to output.txt in its folder.

Examples:
    python tools/run_table1.py --padding zeros --net gapnet permutenet --task location --seeds 0 1 2
    python tools/run_table1.py --grid 3 --dry-run
"""

import json
import signal
import statistics
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Any

from mmposenc.cli import common

if TYPE_CHECKING:
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


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument('--task', nargs='+', choices=TASKS, default=TASKS)
    parser.add_argument('--padding', nargs='+', choices=PADDINGS, default=PADDINGS)
    parser.add_argument(
        '--net', nargs='+', choices=NETS, default=NETS, help='sortnet and sumnet: the bounds, not in the paper'
    )
    parser.add_argument('--grid', nargs='+', type=int, choices=GRID_SIZES, default=GRID_SIZES)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='one run per seed (default: 0)')
    parser.add_argument('--work-dir', default='work_dirs/table1', help='default: work_dirs/table1')
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='runs at once on the same GPU (default: 1)')
    parser.add_argument('--dry-run', action='store_true', help='run nothing, write nothing')
    common.add_cfg_options(parser)


def run(args: Namespace) -> None:
    """Run what is missing, in the table's order, and print the table (Table 1)."""
    if args.jobs < 1:
        raise ValueError(f'--jobs must be at least 1, got {args.jobs}')
    experiments = choose(args.task, args.padding, args.net, args.grid)
    runs = [(experiment, seed) for seed in args.seeds for experiment in experiments]
    todo = []
    for experiment, seed in runs:
        _check(args, experiment, seed)
        if read_result(args.work_dir, experiment, seed) is None:
            todo.append((experiment, seed))
    common.say(f'{len(runs)} runs: {len(runs) - len(todo)} finished, {len(todo)} to do, in {args.work_dir}')
    try:
        _train_all(args, todo)
    finally:
        results = [read_result(args.work_dir, experiment, seed) for experiment, seed in runs]
        print('Accuracy of the last epoch in %, the paper in brackets:')
        print(format_table(experiments, [result for result in results if result]), flush=True)
    if not args.dry_run:
        common.say(f'done: {write_results(args.work_dir)}')


@dataclass(frozen=True)
class Experiment:
    """One cell of Table 1, or of the bounds beside it (sortnet, sumnet)."""

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
    from mmengine.config import Config

    epochs = Config.fromfile(config).train_cfg.max_epochs
    accuracy = None
    for log in sorted(folder.glob('*/vis_data/scalars.json')):
        for record in _records(log):
            if _LAST_EPOCH_OF in record and record.get('step') == epochs:
                accuracy = record[_LAST_EPOCH_OF]
    return None if accuracy is None else Result(experiment, seed, epochs, accuracy)


def check_settings(work_dir: str | Path, experiment: Experiment, seed: int, wanted: 'Config') -> None:
    """Refuse to count a run of other settings as this one, or to resume it as this one (Table 1).

    Raises:
        ValueError: If the run's own copy of its config differs in what decides its figure.
    """
    folder = run_folder(work_dir, experiment, seed)
    path = folder / f'{experiment.config}.py'
    if not path.is_file():
        return
    from mmengine.config import Config

    had = Config.fromfile(path)
    different = [key for key in _SETTINGS if _decisive(had, key) != _decisive(wanted, key)]
    if different:
        raise ValueError(
            f'{folder} holds a run with other settings ({", ".join(different)} differ: see {path}); '
            'give another --work-dir, or remove the folder'
        )


def _decisive(cfg: 'Config', key: str) -> Any:
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


def _check(args: Namespace, experiment: Experiment, seed: int) -> None:
    """Compare a run that is there with the one that is asked for."""
    options = [*(args.cfg_options or ()), f'randomness.seed={seed}']
    config = f'mmposenc::{experiment.config}.py'
    load = Namespace(config=config, cfg_options=options, launcher='none', work_dir='', trust_checkpoint=False)
    check_settings(args.work_dir, experiment, seed, common.load_config(load))


def _train_all(args: Namespace, todo: list[tuple[Experiment, int]]) -> None:
    """Train what is to do, `--jobs` at once; after a failure none is begun, and those that run are waited for."""

    ended = Event()
    running: list[subprocess.Popen] = []

    def one(number: int, experiment: Experiment, seed: int) -> None:
        if ended.is_set():
            return
        common.say(f'== {number} of {len(todo)}: {experiment.config}, seed {seed}')
        try:
            if not args.dry_run:
                _train(args, experiment, seed, running)
        except BaseException:
            ended.set()
            raise

    with _stop_signals_passed_on(running, ended), ThreadPoolExecutor(args.jobs) as pool:
        for done in as_completed([pool.submit(one, number, *run) for number, run in enumerate(todo, 1)]):
            done.result()
            if not args.dry_run:
                write_results(args.work_dir)
    if ended.is_set():
        raise ValueError('told to end: the runs that are missing were not begun; the same command goes on from there')


@contextmanager
def _stop_signals_passed_on(running: list[subprocess.Popen], ended: Event) -> Iterator[None]:
    """Hand what ends a training (`StopSignalHook`) to those that run: each saves its state, and none is begun."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        ended.set()
        for process in tuple(running):
            process.send_signal(number)

    before = {name: signal.signal(name, pass_on) for name in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _train(args: Namespace, experiment: Experiment, seed: int, running: list[subprocess.Popen]) -> None:
    """Train in a process of its own, in `running` meanwhile: nothing that one run leaves behind reaches the next."""
    folder = run_folder(args.work_dir, experiment, seed)
    command = [sys.executable, '-m', 'mmposenc', 'train', f'mmposenc::{experiment.config}.py', '--resume']
    command += ['--work-dir', str(folder)]
    command += ['--cfg-options', *(args.cfg_options or ()), f'randomness.seed={seed}']
    with ExitStack() as stack:
        place, output = 'above', None
        if args.jobs > 1:
            place = f'in {folder / "output.txt"}'
            folder.mkdir(parents=True, exist_ok=True)
            output = stack.enter_context(open(folder / 'output.txt', 'a'))
        process = subprocess.Popen(command, stdout=output, stderr=output and subprocess.STDOUT)
        running.append(process)
        status = process.wait()
        running.remove(process)
    if status:
        raise ValueError(
            f'{experiment.config}, seed {seed}, ended with status {status} (why, is said {place}); '
            'the same command goes on from there'
        )
    if read_result(args.work_dir, experiment, seed) is None:
        raise ValueError(
            f'{folder} has a last checkpoint, but no figure of the last epoch: it was stopped between the two. '
            'Remove the folder and give the same command again'
        )


def write_results(work_dir: str) -> Path:
    """Write table1.json and table1.png from everything that is finished in the folder, whoever asked for it."""
    from mmposenc.figures import draw_accuracy, save_figure
    from mmposenc.results import atomic_write

    results = [
        result
        for experiment in choose()
        for folder in sorted(Path(work_dir, experiment.config).glob('seed*'))
        if (result := read_result(work_dir, experiment, int(folder.name.removeprefix('seed'))))
    ]
    path = Path(work_dir, 'table1.json')
    runs = [result.to_dict() for result in results]
    document = {'format': 'mmposenc.table1/1', 'figure': 'last epoch, %', 'runs': runs}
    atomic_write(path, json.dumps(document, indent=1) + '\n')
    save_figure(draw_accuracy(runs), path.with_suffix('.png'))
    return path
