"""The whole story on real handwritten digits, offline, on a CPU; ends with work_dirs/demo/report.html.

Every step is a command of this project, printed before it runs; two run at a time. Finished steps are skipped, so an
interrupted demo goes on where it was. `--fresh` begins again.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from mmposenc.cli import common as command_line
from mmposenc.figures.report import Commands, Picture, Section, Table, build_report, save_text

ROOT = Path(__file__).resolve().parents[1]
OUT = Path('work_dirs/demo')
SCENES = 'deeplabv3_r18_digitscenes'
PLOTS = {
    'fig4.png': 'Channels switched off: position channels against random ones (Fig. 4)',
    'fig6.png': 'Left- and right-specific channels, by half of the image (Fig. 6)',
}
LAYER = 'backbone[-1]'  # where the released code switches off
GRID = [f'{net}_r18_grid3-{task}_digits' for task in ('category', 'location') for net in ('gapnet', 'permutenet')]
SHIFT = {
    'baseline-nocrop_r18_digits': 'one view, never shifted',
    'baseline_r18_digits': 'one view, shifted by up to 8 px',
    'augshift_r18_digits': 'AugShift: two views, shifted by up to 8 px',
}


class Step:
    """One command, its log and, once it has succeeded, its closing line (ours)."""

    def __init__(self, name: str, command: str, after: Sequence[str] = ()) -> None:
        self.name, self.command, self.after = name, command, after
        self.log, self.mark = OUT / 'logs' / f'{name}.log', OUT / 'logs' / f'{name}.done'

    def run(self) -> None:
        """Run the command unless it has succeeded before."""
        if self.mark.exists():
            print(f'[ready] {self.name}', flush=True)
            return
        print(f'[start] {self.name}: python {self.command}', flush=True)
        start = time.monotonic()
        with self.log.open('w') as log:
            command = [sys.executable, *self.command.split()]
            status = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=False)
        lines = self.log.read_text().splitlines()
        if status.returncode:
            raise ValueError(
                f'{self.name} ended with status {status.returncode}; see {self.log}\n' + '\n'.join(lines[-5:])
            )
        closing = [line for line in lines if line.startswith('done: ')][-1:]
        self.mark.write_text(closing[0] if closing else 'done')
        print(f'[done]  {self.name}, {time.monotonic() - start:.0f} s', flush=True)

    def figures(self) -> dict[str, float]:
        """The numbers of the closing line."""
        return {name: float(value) for name, value in re.findall(r'([\w/]+) (-?[\d.]+)[,;]', self.mark.read_text())}


def train(config: str) -> Step:
    """Training of a config of this project."""
    return Step(config, f'tools/train.py configs/{config}.py --work-dir {OUT}/{config} --resume')


def plan() -> dict[str, Step]:
    """All steps by name, each behind those that it needs (ours)."""
    config = f'configs/{SCENES}.py'
    segmenter = f'{config} {OUT}/{SCENES}/iter_400.pth --work-dir {OUT}/{SCENES}'
    rank = f'tools/rank_channels.py {segmenter} --statistic signed --region-list {OUT}/lists/val-'
    rankings = ' '.join(
        f'{OUT}/{name}.json' for name in ('overall-flip_image-abs', 'overall-roll_image-abs', 'left', 'right')
    )
    steps = [
        train(SCENES),
        *(train(name) for name in [*GRID, *SHIFT]),
        Step('lists', f'tools/make_region_lists.py {config} --out-dir {OUT}/lists'),
        *(draw_grid(net) for net in ('gapnet', 'permutenet')),
        Step(
            'rank-overall',
            f'tools/rank_channels.py {segmenter} --pair flip_image roll_image --out {OUT}/overall.json',
            [SCENES],
        ),
        Step('rank-left', f'{rank}left.txt --out {OUT}/left.json', [SCENES, 'lists']),
        Step('rank-right', f'{rank}right.txt --out {OUT}/right.json', [SCENES, 'lists']),
        Step(
            'sweep',
            f'tools/sweep.py {segmenter} --rankings {rankings} --num-channels 0:128:16 --windows 16 --random 5 '
            f'--layer {LAYER} --out {OUT}/sweep',
            ['rank-overall', 'rank-left', 'rank-right'],
        ),
        Step(
            'overlays',
            f'tools/draw_ablation.py {segmenter} --ranking {OUT}/overall-flip_image-abs.json --num-channels 64 '
            f'--images 0 1 2 --out {OUT}/overlays.png',
            ['rank-overall'],
        ),
        Step('plots', f'tools/plot_sweep.py {OUT}/sweep', ['sweep']),
    ]
    return {step.name: step for step in steps}


def draw_grid(net: str) -> Step:
    """The pictures of what a location network is shown, and of where it looks."""
    config = f'{net}_r18_grid3-location_digits'
    checkpoint = f'{OUT}/{config}/epoch_12.pth'
    command = f'tools/draw_grid.py configs/{config}.py {checkpoint} --work-dir {OUT}/{config} --out {OUT}/{net}'
    return Step(f'pictures-{net}', command, [config])


def main(argv: Sequence[str] | None = None) -> None:
    """Run all steps and write the report (ours)."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--fresh', action='store_true', help='begin again')
    if parser.parse_args(argv).fresh:
        shutil.rmtree(OUT, ignore_errors=True)
    (OUT / 'logs').mkdir(parents=True, exist_ok=True)
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    steps = plan()
    with ThreadPoolExecutor(2) as pool:
        futures: dict[str, Future] = {}

        def run(step: Step) -> None:
            for name in step.after:  # submitted earlier, so it has at least begun: nobody waits for ever
                futures[name].result()
            step.run()

        for step in steps.values():
            futures[step.name] = pool.submit(run, step)
        for future in futures.values():
            future.result()
    command_line.say(f'done: report: {write_report(steps)}')


def write_report(steps: dict[str, Step]) -> Path:
    """The page that tells the story with the figures of this run (ours)."""
    shift = [
        (text, f['accuracy/top1'], f['consistency/cons8_zero_ref'], interval(f, 'consistency/cons8_zero_ref'))
        for text, f in ((text, steps[name].figures()) for name, text in SHIFT.items())
    ]
    accuracy = [steps[name].figures()['accuracy/top1'] for name in GRID]
    sections = [
        Section(
            'Where is the digit? (Sec. 3)',
            [
                'A digit stands in one of nine cells. GAPNet averages each channel over the image and reads its answer '
                'off the channels; PermuteNet shuffles them first. Both can name the digit; with the order of the '
                'channels PermuteNet loses some of the places. One seed; the epochs and learning rates of the category '
                'runs were chosen on these digits, so their accuracies are no held-out figures.',
                Table(
                    ['net', 'location (%)', 'category (%)'],
                    [('GAPNet', *accuracy[2::-2]), ('PermuteNet', *accuracy[3::-2])],
                ),
                Picture(OUT / 'gapnet' / 'inputs.png', 'What the networks are shown'),
                Picture(OUT / 'gapnet' / 'confusion.png', 'GAPNet: where the digits of each cell are said to be'),
                Picture(OUT / 'permutenet' / 'confusion.png', 'PermuteNet: the same'),
                Picture(
                    OUT / 'permutenet' / 'sums.png',
                    'PermuteNet: the sum of the channels for each cell, all that its linear layer sees on average. '
                    'Cells of one sum are one cell to it',
                ),
            ],
        ),
        Section(
            'The same answer for a shifted image (Sec. 4.1)',
            [
                'Cons.8: how often a test digit and its copy shifted by up to 8 px (zero fill) get the same label. '
                '355 digits, one seed: where intervals overlap, no difference is shown.',
                Table(['training', 'Top-1 (%)', 'Cons.8 (%)', '95% interval'], shift),
            ],
        ),
        Section(
            'Which channels carry the position? (Sec. 4.2)',
            [
                f'A small DeepLabv3 on scenes composed of digits. Its channels at {LAYER} are ranked by how much they '
                'change when the image is mirrored or rolled, or how they differ by side; then they are switched off, '
                'best first, and compared with as many random ones.',
                *(Picture(OUT / 'sweep' / name, caption) for name, caption in PLOTS.items()),
                Picture(
                    OUT / 'overlays.png', 'Predictions with 64 position channels off, and with 64 random ones (Fig. 5)'
                ),
            ],
        ),
        Section('Commands', [Commands([f'python {step.command}' for step in steps.values()])]),
    ]
    path = OUT / 'report.html'
    save_text(build_report('Position information in channels, on handwritten digits', sections), path)
    return path


def interval(figures: dict[str, float], key: str) -> str:
    """The 95% interval as text."""
    return f'{figures[f"{key}_low"]:.1f} to {figures[f"{key}_high"]:.1f}'


if __name__ == '__main__':
    command_line.run(main)
