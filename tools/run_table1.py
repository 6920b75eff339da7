"""Run Table 1, or any part of it, and print it beside the paper's numbers.

Finished runs are skipped, and a run that was stopped goes on from its last checkpoint: give the same command again.
SIGTERM and SIGUSR1 go to the runs, which save and end.
The figure of a run is that of its last epoch. Under --work-dir: a folder per run, table1.json and table1.png. A large
GPU has room for several runs at once (--jobs); each then writes to output.txt in its folder.

Examples:
    python tools/run_table1.py                                                  # all 36, and the bounds beside them
    python tools/run_table1.py --padding zeros --net gapnet permutenet --task location --seeds 0 1 2
    python tools/run_table1.py --grid 3 --dry-run                               # what would run, and what there is
"""

import json
import os
import signal
import subprocess
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from types import FrameType

from mmposenc.cli import common as command_line

# isort: split
from mmengine.config import DictAction

from mmposenc.cli import table1
from mmposenc.figures.grid_figures import draw_accuracy, save_figure

TOOLS = Path(__file__).resolve().parent
CONFIGS = TOOLS.parent / 'configs'


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, in the table's order, and print the table (Table 1)."""
    args, options = parse(argv)
    experiments = table1.choose(args.task, args.padding, args.net, args.grid)
    runs = [(experiment, seed) for seed in args.seeds for experiment in experiments]
    todo = []
    for experiment, seed in runs:
        check(args, experiment, seed)
        if table1.read_result(args.work_dir, experiment, seed) is None:
            todo.append((experiment, seed))
    command_line.say(f'{len(runs)} runs: {len(runs) - len(todo)} finished, {len(todo)} to do, in {args.work_dir}')
    try:
        train_all(args, options, todo)
    finally:
        results = [table1.read_result(args.work_dir, experiment, seed) for experiment, seed in runs]
        print('Accuracy of the last epoch in %, the paper in brackets:')
        print(table1.format_table(experiments, [result for result in results if result]), flush=True)
    if not args.dry_run:
        command_line.say(f'done: {write(args.work_dir)}')


def parse(argv: Sequence[str] | None) -> tuple[Namespace, list[str]]:
    """The arguments, and the overrides as they were written."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument('--task', nargs='+', choices=table1.TASKS, default=table1.TASKS)
    parser.add_argument('--padding', nargs='+', choices=table1.PADDINGS, default=table1.PADDINGS)
    parser.add_argument(
        '--net',
        nargs='+',
        choices=table1.NETS,
        default=table1.NETS,
        help='sortnet and sumnet: the bounds, not in the paper',
    )
    parser.add_argument('--grid', nargs='+', type=int, choices=table1.GRID_SIZES, default=table1.GRID_SIZES)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='one run per seed (default: 0)')
    parser.add_argument('--work-dir', default='work_dirs/table1', help='default: work_dirs/table1')
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='runs at once on the same GPU (default: 1)')
    parser.add_argument('--dry-run', action='store_true', help='run nothing, write nothing')
    # As they were written for the run, and parsed for the comparison with what is there.
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', default=[], help='overrides for every run')
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f'--jobs must be at least 1, got {args.jobs}')
    options = args.cfg_options
    both = ArgumentParser()
    both.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    wrong = [option for option in options if '=' not in option]
    if wrong:
        parser.error(f'--cfg-options takes KEY=VALUE, got {" ".join(wrong)}')
    args.cfg_options = both.parse_args(['--cfg-options', *options]).cfg_options if options else {}
    return args, options


def check(args: Namespace, experiment: table1.Experiment, seed: int) -> None:
    """Compare a run that is there with the one that is asked for."""
    config = str(CONFIGS / f'{experiment.config}.py')
    overrides = {**args.cfg_options, 'randomness.seed': seed}
    load = Namespace(config=config, cfg_options=overrides, launcher='none', work_dir='', trust_checkpoint=False)
    table1.check_settings(args.work_dir, experiment, seed, command_line.load_config(load))


def train_all(args: Namespace, options: list[str], todo: list[tuple[table1.Experiment, int]]) -> None:
    """Train what is to do, `--jobs` at once; after a failure none is begun, and those that run are waited for."""

    ended = Event()
    running: list[subprocess.Popen] = []

    def one(number: int, experiment: table1.Experiment, seed: int) -> None:
        if ended.is_set():
            return
        command_line.say(f'== {number} of {len(todo)}: {experiment.config}, seed {seed}')
        try:
            if not args.dry_run:
                train(args, options, experiment, seed, running)
        except BaseException:
            ended.set()
            raise

    with stop_signals_passed_on(running, ended), ThreadPoolExecutor(args.jobs) as pool:
        for done in as_completed([pool.submit(one, number, *run) for number, run in enumerate(todo, 1)]):
            done.result()
            if not args.dry_run:
                write(args.work_dir)
    if ended.is_set():
        raise ValueError('told to end: the runs that are missing were not begun; the same command goes on from there')


@contextmanager
def stop_signals_passed_on(running: list[subprocess.Popen], ended: Event) -> Iterator[None]:
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


def train(
    args: Namespace, options: list[str], experiment: table1.Experiment, seed: int, running: list[subprocess.Popen]
) -> None:
    """Train in a process of its own, in `running` meanwhile: nothing that one run leaves behind reaches the next."""
    folder = table1.run_folder(args.work_dir, experiment, seed)
    config = str(CONFIGS / f'{experiment.config}.py')
    command = [sys.executable, str(TOOLS / 'train.py'), config, '--resume', '--work-dir', str(folder)]
    command += ['--cfg-options', *options, f'randomness.seed={seed}']
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
    if table1.read_result(args.work_dir, experiment, seed) is None:
        raise ValueError(
            f'{folder} has a last checkpoint, but no figure of the last epoch: it was stopped between the two. '
            'Remove the folder and give the same command again'
        )


def write(work_dir: str) -> Path:
    """Write table1.json and table1.png from everything that is finished in the folder, whoever asked for it."""
    results = [
        result
        for experiment in table1.choose()
        for folder in sorted(Path(work_dir, experiment.config).glob('seed*'))
        if (result := table1.read_result(work_dir, experiment, int(folder.name.removeprefix('seed'))))
    ]
    path = Path(work_dir, 'table1.json')
    part = path.with_name(f'{path.name}.part')
    runs = [result.to_dict() for result in results]
    part.write_text(
        json.dumps({'format': 'mmposenc.table1/1', 'figure': 'last epoch, %', 'runs': runs}, indent=1) + '\n'
    )
    os.replace(part, path)
    save_figure(draw_accuracy(runs), path.with_suffix('.png'))
    return path


if __name__ == '__main__':
    command_line.run(main)
