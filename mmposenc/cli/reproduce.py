"""Run the experiments of the paper and of docs/results that are not done yet, the most valuable first.

Every experiment resumes: stop it at any time, and give the same command again. When the minutes are over, or on SIGTERM
or Ctrl-C, trainings save their state and everything ends. Under --out: one JSON file for each experiment and seed with
its commands, versions, device and figures, the trained weights if they take at most 4 MiB (.safetensors in float16, for
--weights of probe and consistency), and a folder with everything else.

NAME is the name of an experiment, the beginning of one up to a dash (table1, table1-location-zeros), or a pattern such
as 'digits-*-3x3'. Without a GPU, experiments of less than the paper's size come first, and those that take more than
four hours run only if they are named.

Examples:
    mmposenc reproduce --list
    mmposenc reproduce table1-location-zeros --seeds 0 1 2 --jobs 3 --minutes 60
"""

import csv
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from importlib import metadata
from math import isfinite
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mmposenc.cli import common
from mmposenc.cli.experiments import DATA, EXPERIMENTS, Cell, Experiment
from mmposenc.version import __version__

FORMAT = 'mmposenc.experiment/1'
ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / 'docs' / 'results'
LONGEST = 240  # minutes on a CPU
GRACE = 45  # seconds in which a training saves its state
SMALL = 4 * 2**20  # bytes of weights that are worth keeping
_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf)', re.I)
PACKAGES = ('torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmpretrain', 'mmsegmentation')


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument('names', nargs='*', metavar='NAME', help='experiments to run (default: all)')
    parser.add_argument('--list', action='store_true', help='show figures, what is missing, and the minutes')
    parser.add_argument('--minutes', type=float, metavar='M', help='stop after so many minutes')
    parser.add_argument('--jobs', type=int, default=1, metavar='J', help='experiments at once (default: 1)')
    parser.add_argument('--seeds', type=int, nargs='+', metavar='SEED', help='default: those of each experiment')
    parser.add_argument('--out', default='work_dirs/reproduce', metavar='DIR', help='default: work_dirs/reproduce')
    parser.add_argument('--again', action='store_true', help='run here what docs/results has already')
    parser.add_argument('--no-verify', action='store_true', help='accept re-packed copies of CIFAR whose md5 differ')


def run(args: Namespace) -> None:
    """List, or run what is missing and end with what is done."""
    chosen = choose(args.names)
    done = results(args.out, published=not args.again)
    if args.list:
        common.say(listing(chosen, done, args.seeds))
        return
    if args.jobs < 1 or (args.minutes is not None and args.minutes <= 0):
        raise ValueError(f'--jobs and --minutes must be above 0, got {args.jobs} and {args.minutes}')
    import torch

    gpu = torch.cuda.is_available()
    todo, before, left_out = [], 0, 0
    for experiment in sorted(chosen, key=lambda e: e.full is not gpu):
        wanted = args.seeds or experiment.seeds
        seeds = [seed for seed in wanted if (experiment.name, seed) not in done]
        before += len(wanted) - len(seeds)
        absent = [path for path in experiment.needs if not Path(path).exists()]
        if absent and seeds:
            left_out += 1
            common.say(f'left out: {experiment.name} needs {absent[0]} ({DATA[absent[0]]})')
        elif gpu or args.names or experiment.cpu <= LONGEST:
            todo += [Run(experiment, seed, Path(args.out).resolve(), args.no_verify) for seed in seeds]
    minutes = sum(each.experiment.gpu if gpu else each.experiment.cpu for each in todo)
    again = ' (--again runs those of docs/results here too)' * (not args.again)
    kept = f'; {before} done before{again}' if before else ''
    common.say(f'{len(todo)} runs to do, about {minutes:,.0f} minutes one after the other{kept}')
    if left_out and not todo:
        raise ValueError(
            'nothing can run: put the data where the lines above say, or run this in the folder with data/'
        )
    if not todo:
        return
    with common.lock(Namespace(launcher='none'), args.out, '--out'):
        run_all(todo, args.jobs, args.minutes, gpu)


def choose(names: Sequence[str]) -> list[Experiment]:
    """The experiments of these names, beginnings or patterns; all without a name. ValueError if a name has none."""
    known = {experiment.name for experiment in EXPERIMENTS}
    found: set[str] = set() if names else known
    for name in names:
        begin = f'{name}-*' if name not in known else name
        named = {each for each in known if fnmatch(each, name) or fnmatch(each, begin)}
        if not named:
            raise ValueError(f'there is no experiment {name}: mmposenc reproduce --list shows all')
        found |= named
    return [experiment for experiment in EXPERIMENTS if experiment.name in found]


@dataclass
class Run:
    """An experiment of one seed: command after command, each in a process of its own.

    `progress.json` in its folder holds the commands, how many are done and the seconds they took. So a run resumes
    where it was, and never mixes its files with those of other commands.
    """

    experiment: Experiment
    seed: int
    out: Path
    unverified: bool = False

    def __post_init__(self) -> None:
        self.name = f'{self.experiment.name}-seed{self.seed}'
        self.folder = self.out / self.name
        verify = ' '.join(f'{loader}_dataloader.dataset.verify=False' for loader in ('train', 'val', 'test'))
        unverified = self.unverified and any('cifar' in path for path in self.experiment.needs)
        self.commands: list[str] = []
        for command in self.experiment.commands:
            if unverified and command.startswith(('train ', 'test ', 'rank ', 'sweep ')):
                command = f'{command} --cfg-options {verify}'
            self.commands.append(command.replace('{seed}', str(self.seed)))

    def perform(self, over: Callable[[], bool], gpu: bool, threads: int | None) -> str:
        """Run the commands that are not done and write the result, unless it is `over`; 'done' or 'stopped'.

        ValueError if the folder was made by other commands, a command failed, or the figures are not there.
        """
        file = self.folder / 'progress.json'
        progress: dict[str, Any] = dict(commands=self.commands, done=0, seconds=0.0)
        if file.is_file():
            progress = json.loads(file.read_text())
        if progress['commands'] != self.commands:
            raise ValueError(f'{self.folder} was made by other commands (see {file}): remove it, or give another --out')
        while progress['done'] < len(self.commands):
            if over():
                return 'stopped'
            _write(file, progress)
            begun = time.monotonic()
            status, told = self._execute(self.commands[progress['done']], over, threads)
            progress['seconds'] += time.monotonic() - begun
            progress['done'] += status == 0
            _write(file, progress)
            if status and not told:
                raise ValueError(f'ended with status {status}; {self.folder / "output.txt"} says why')
        record = dict(
            format=FORMAT,
            name=self.experiment.name,
            seed=self.seed,
            commands=[f'{"python" if ".py" in line.split()[0] else "mmposenc"} {line}' for line in self.commands],
            measured=datetime.now().astimezone().date().isoformat(),
            minutes=round(progress['seconds'] / 60, 2),
            device=_device(gpu),
            versions=_versions(),
            figures=read_figures(self.folder, self.experiment.figures),
        )
        if (self.folder / 'train').is_dir():
            _keep_weights(last_checkpoint(self.folder), self.out / f'{self.name}.safetensors')
        _write(self.out / f'{self.name}.json', record)
        common.say(f'done   {self.name}: {shown(self.experiment, [record])}')
        return 'done'

    def _execute(self, line: str, over: Callable[[], bool], threads: int | None) -> tuple[int, bool]:
        """The status of a command, and whether it was told to end; one that has not after a while is killed."""
        if '{checkpoint}' in line:
            line = line.replace('{checkpoint}', shlex.quote(str(last_checkpoint(self.folder))))
        words = shlex.split(line.replace('{out}', shlex.quote(str(self.folder))))
        program = [str(ROOT / words.pop(0))] if words[0].endswith('.py') else ['-m', 'mmposenc']
        environment = {'OMP_NUM_THREADS': str(threads), **os.environ} if threads else None
        with (self.folder / 'output.txt').open('a') as log:
            # In a session of its own: Ctrl-C is for this process, which lets the command save its state.
            options: Any = dict(stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
            process = subprocess.Popen([sys.executable, *program, *words], **options)
        told = 0.0
        while process.poll() is None:
            if over() and not told:
                told = time.monotonic()
                process.terminate()
            elif told and time.monotonic() - told > GRACE:
                process.kill()
            time.sleep(0.05)
        return process.returncode, bool(told)


def run_all(todo: Sequence[Run], jobs: int, minutes: float | None = None, gpu: bool = False) -> None:
    """Run everything, `jobs` at once, until it is done, the minutes are over or a signal comes.

    A run that fails does not stop the others; ValueError at the end. After a signal SystemExit, once all runs have
    saved their state.
    """
    end = time.monotonic() + 60 * (minutes or float('inf'))
    threads = None if gpu else max(1, (os.cpu_count() or 1) // jobs)
    received: list[int] = []

    def over() -> bool:
        return bool(received) or time.monotonic() >= end

    def perform(each: Run) -> str:
        if over():
            return 'stopped'
        common.say(f'start  {each.name}')
        try:
            return each.perform(over, gpu, threads)
        except (ValueError, OSError) as error:
            common.say(f'failed {each.name}: {error}')
            return 'failed'

    numbers = [getattr(signal, name) for name in ('SIGTERM', 'SIGINT', 'SIGUSR1') if hasattr(signal, name)]
    before = [signal.signal(number, lambda number, _: received.append(number)) for number in numbers]
    try:
        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(perform, each) for each in todo]
            while wait(futures, timeout=0.2).not_done:  # This thread is the one that signals reach.
                pass
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    ends = [future.result() for future in futures]
    counts = ', '.join(f'{ends.count(word)} {word}' for word in ('done', 'stopped', 'failed'))
    common.say(f'{counts}; run the same command again to continue')
    if received:
        raise SystemExit(128 + received[0])
    if 'failed' in ends:
        raise ValueError(f'{ends.count("failed")} of {len(todo)} runs failed')


def last_checkpoint(folder: Path) -> Path:
    """The last checkpoint of the training in the folder of a run; ValueError if there is none."""
    note = folder / 'train' / 'last_checkpoint'
    if not note.is_file():
        raise ValueError(f'there is no checkpoint in {folder / "train"}')
    return folder / 'train' / Path(note.read_text().strip()).name  # The folder may have moved.


def read_figures(folder: Path, places: Sequence[str]) -> dict[str, float]:
    """The finite figures that a run left in its folder, by their names; `places` as in `Experiment`.

    ValueError if a training has not been validated at its end, FileNotFoundError if a file is missing.
    """
    figures: dict[str, float] = {}
    for place in places:
        if place == 'train':
            figures |= _last_validation(folder)
        elif place == 'test':
            logs = sorted((folder / 'test').glob('*/*.json'))
            if not logs:
                raise FileNotFoundError(f'there are no figures of a test in {folder / "test"}')
            figures |= _numbers(json.loads(logs[-1].read_text()))
        elif place == 'card.json':
            figures |= _card_figures(folder / place)
        elif place.endswith('.json'):
            figures |= _numbers(json.loads((folder / place).read_text()))
        else:  # A row's figures are named by the texts that stand in it.
            with (folder / place).open(newline='') as file:
                for row in csv.DictReader(file):
                    numbers = {column: float(text) for column, text in row.items() if _NUMBER.fullmatch(text)}
                    texts = [text for column, text in row.items() if text and column not in numbers]
                    figures |= _numbers(numbers, '/'.join([place.removesuffix('.csv'), *texts]))
    return {name: value for name, value in figures.items() if isfinite(value) and name not in ('time', 'data_time')}


def _card_figures(file: Path) -> dict[str, float]:
    """The shares in the file of a consistency card, in %, named as a test of mmpretrain names them."""
    card = json.loads(file.read_text())
    figures = {'accuracy/top1': 100 * card['correct'] / card['images']}
    for protocol, size, (same, *_) in zip(card['protocols'], card['max_shifts'], card['counts']['tensor'], strict=True):
        figures[f'consistency/cons{size or ""}_{protocol}'] = 100 * same / card['images']
    return figures


def _last_validation(folder: Path) -> dict[str, float]:
    """Of the last epoch or iteration, never of the best one, which would be chosen on the test set."""
    last: dict[str, Any] = {}
    for log in sorted((folder / 'train').glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # The last line of a run that was killed.
                continue
            last = last if 'lr' in record or 'loss' in record else record
    end = re.search(r'_(\d+)\.pth$', last_checkpoint(folder).name)
    if end is None or last.get('step') != int(end[1]):
        raise ValueError(f'{folder / "train"} has no validation of the end of its training: remove {folder}')
    return _numbers({name: value for name, value in last.items() if name != 'step'})


def _numbers(tree: Any, name: str = '') -> dict[str, float]:
    """The numbers in a tree of JSON, named by the way to them."""
    if isinstance(tree, int | float) and not isinstance(tree, bool):
        return {name: float(tree)}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree if isinstance(tree, list) else ())
    parts = (_numbers(value, f'{name}/{key}' if name else str(key)) for key, value in items)
    return {key: number for part in parts for key, number in part.items()}


def results(out: str | Path, published: bool = True) -> dict[tuple[str, int], dict[str, Any]]:
    """What is done: the records of docs/results, if they count, and of a folder, by name and seed.

    Those of earlier.json were not written by this command, and lack some of its entries.
    """
    records, files = [], sorted(Path(out).glob('*-seed*.json'))
    if published:
        records = [record for file in PUBLISHED.glob('earlier.json') for record in json.loads(file.read_text())]
        files = [*sorted(PUBLISHED.glob('reproduce/*.json')), *files]
    for file in files:
        record = json.loads(file.read_text())
        if record.get('format') != FORMAT:
            raise ValueError(f'{file} must have the format {FORMAT!r}, got {record.get("format")!r}')
        records.append(record)
    return {(record['name'], record['seed']): record for record in records}


def listing(chosen: Sequence[Experiment], done: Mapping, seeds: Sequence[int] | None = None) -> str:
    """A line per experiment, first those with figures: seeds done, minutes for one seed, figures; then missing data."""
    width = max(len(experiment.name) for experiment in chosen)
    measured: list[str] = []
    open_: list[str] = []
    for e in chosen:
        wanted = seeds or e.seeds
        records = [done[e.name, seed] for seed in wanted if (e.name, seed) in done]
        main = main_cell(e)
        paper = f' ({main.paper})' if main and main.paper else ''
        counts = f'{len(records)}/{len(wanted)}'
        line = f'{e.name:{width}}  {counts:>5} {e.gpu:7,.0f} {e.cpu:7,.0f}  {shown(e, records)}{paper}'.rstrip()
        (measured if records else open_).append(line)
    lines = [f"{'experiment':{width}}  {'seeds':>5} {'GPU':>7} {'CPU':>7}  figures (the paper's)", *measured]
    lines += ['', 'Not measured yet, in the order in which they run:', *open_] if open_ else []
    lines += ['', 'GPU, CPU: minutes for a seed on one H100, and on two CPU cores; mostly estimates.']
    lines += ['docs/reproduce/status.md says what the figures are.']
    absent = [path for path in DATA if any(path in e.needs for e in chosen) and not Path(path).exists()]
    return '\n'.join([*lines, *(f'missing: {path} ({DATA[path]})' for path in absent)])


def main_cell(experiment: Experiment) -> Cell | None:
    """The first cell of numbers, or else the first that is a picture."""
    return min(experiment.cells, key=lambda cell: not cell.keys, default=None)


def shown(experiment: Experiment, records: Sequence[Mapping[str, Any]], cell: Cell | None = None) -> str:
    """The figures of a cell, by default the experiment's main one, over its seeds; '' without a record."""
    cell = cell or main_cell(experiment)
    if not records or (cell and not cell.keys):
        return 'drawn' if records else ''
    usual = [name for name in ('accuracy/top1', 'consistency/cons8_zero_ref') if name in records[0]['figures']]
    texts = []
    for key in cell.keys if cell else usual:
        values = [record['figures'][key] for record in records if record['figures'].get(key) is not None]
        digits = 3 if key.endswith(('_p', '/p')) else 2
        several = f' ± {stdev(values):.{digits}f}' if len(values) > 1 else ''
        texts.append(f'{mean(values):.{digits}f}{several}' if values else '-')
    return ' / '.join(texts) if {*texts} - {'-'} else ''


def _write(path: Path, document: Mapping[str, Any]) -> None:
    from mmposenc.results import atomic_write

    atomic_write(path, json.dumps(document, indent=1) + '\n')


def _device(gpu: bool) -> str:
    if gpu:
        import torch

        return torch.cuda.get_device_name()
    info = Path('/proc/cpuinfo')  # where Linux has the name that platform lacks
    found = re.search(r'model name\s*: (.*)', info.read_text()) if info.is_file() else None
    return f'{os.cpu_count()} cores of {found[1] if found else platform.processor() or platform.machine()}'


def _versions() -> dict[str, str]:
    names = {*PACKAGES, *(f'onedl-{package}' for package in PACKAGES)}
    installed = {each.name: each.version for each in metadata.distributions() if each.name in names}
    return {'mmposenc': __version__, 'python': platform.python_version(), **installed}


def _keep_weights(checkpoint: Path, path: Path) -> None:
    """Write the weights of a small network as safetensors, in float16 where it holds them; `--weights` reads them."""
    from safetensors.torch import save_file

    from mmposenc.host.checkpoints import read_checkpoint

    state = {}
    for name, value in read_checkpoint(checkpoint)['state_dict'].items():
        # What float16 cannot hold, such as a large variance, stays as it is.
        fits = value.is_floating_point() and value.half().isfinite().all()
        state[name] = (value.half() if fits else value).contiguous()
    if sum(value.nbytes for value in state.values()) <= SMALL:
        save_file(state, path)
