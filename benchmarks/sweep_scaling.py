"""How much faster `mmposenc sweep` is with 2 processes than with 1, on a CPU, each process with one thread.

    python benchmarks/sweep_scaling.py

The demo's DeepLabv3 and its scenes; the two commands run in turns, and first their files are compared: both must leave
the same bytes. Three ratios, each the median over the rounds of the ratios within a round:
  loop      from the first batch to the last file; the first process waits for the others;
  command   all of it, the imports and the start of the processes too, which no number of processes makes faster;
  computed  what the process with most to do spent computing in the loop: other work on the machine does not count,
            nor does waiting.
Other work takes more from 2 processes than from 1, so what it took is measured (Linux) and a round it disturbed marked.
Weights and rankings are random.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS, init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmposenc.host.patches import prepare_hosts
from mmposenc.ranking import Ranking

ROOT = Path(__file__).parents[1]
LAYERS = ['decode_head.image_pool.0', 'backbone[-1]']
SCENES = 200  # of 64x128 px, in batches of 10
CONFIG = """
_base_ = '{root}/configs/deeplabv3_r18_digitscenes.py'
custom_imports = dict(imports=['mmposenc', 'sweep_scaling'])
custom_hooks = [dict(type='LoopSeconds')]
test_dataloader = dict(dataset=dict(num_scenes={scenes}))
"""
KINDS = ('loop', 'command', 'computed')
BUSY = 0.1
"""Cores that other work took: above it a measurement with as many processes as cores is not to be trusted."""


@HOOKS.register_module(force=True)  # the config imports this file again
class LoopSeconds(Hook):
    """Writes the seconds of the loop, and those its process was computing."""

    def before_test_epoch(self, runner: Runner) -> None:
        self.start = time.perf_counter(), time.process_time()

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self.computed = time.process_time() - self.start[1]

    def after_test_epoch(self, runner: Runner, metrics=None) -> None:
        seconds = dict(loop=time.perf_counter() - self.start[0], computed=self.computed)
        Path(runner.work_dir, f'seconds-{get_rank()}.json').write_text(json.dumps(seconds))


def prepare(folder: Path) -> None:
    """Config, checkpoint and rankings; batch norms are set so that activations keep their scale."""
    (folder / 'config.py').write_text(CONFIG.format(root=ROOT, scenes=SCENES))
    prepare_hosts()
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(folder / 'config.py').model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    nn.init.normal_(model.decode_head.conv_seg.weight)
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 64, 128), mode='tensor')
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'net.pth')
    for seed in range(3):
        scores = torch.rand(128, generator=torch.Generator().manual_seed(seed)).tolist()
        ranking = Ranking(layer=LAYERS[0], statistic='abs', pair='flip_image', scores=scores, num_images=1)
        ranking.save(folder / f'ranking{seed}.json')


def sweep(folder: Path, processes: int, out: str) -> dict[str, float]:
    """Run the command; seconds of the loop and of the command, and of the process that computed longest."""
    launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), str(ROOT / 'tools' / 'sweep.py')]
    command += ['config.py', 'net.pth', '--rankings', *(f'ranking{seed}.json' for seed in range(3))]
    command += f'--num-channels 0:129:8 --random 5 --matched 0 --work-dir {out} --out {out} --layer'.split()
    command += LAYERS
    alone = dict(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    alone['PYTHONPATH'] = str(Path(__file__).parent)
    start, busy, own = time.perf_counter(), machine_seconds(), children_seconds()
    done = subprocess.run(command, cwd=folder, env={**os.environ, **alone}, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f'{" ".join(command)} failed:\n{done.stderr}')
    ranks = [json.loads((folder / out / f'seconds-{rank}.json').read_text()) for rank in range(processes)]
    others = (machine_seconds() - busy - (children_seconds() - own)) / seconds
    return dict(
        loop=ranks[0]['loop'],
        command=seconds,
        computed=max(rank['computed'] for rank in ranks),
        others=max(0.0, others),
    )


def machine_seconds() -> float:
    """Seconds that all cores together have worked since the machine started."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path('/proc/stat').read_text().split('\n')[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf('SC_CLK_TCK')


def children_seconds() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


def check_same_files(folder: Path, one: str, many: str) -> None:
    """Raise unless both sweeps left the same bytes."""
    for name in ('sweep.csv', 'sweep.json', 'sweep_counts.npz'):
        if (folder / one / name).read_bytes() != (folder / many / name).read_bytes():
            raise SystemExit(f'{name} depends on the number of processes')
    lines = len((folder / one / 'sweep.csv').read_text().splitlines()) - 1
    print(f'  sweep.csv ({lines} rows), sweep.json and sweep_counts.npz are equal')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--processes', type=int, default=2, help='against one')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--json', help='also write the figures to this file')
    args = parser.parse_args()
    print(f'{os.cpu_count()} cores, torch {torch.__version__}, {SCENES} scenes, 1 and {args.processes} processes')
    rounds: list[tuple[dict[str, float], dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for turn in range(args.rounds):
            spent = {n: sweep(folder, n, f'{turn}-{n}') for n in (1, args.processes)}
            if not turn:
                check_same_files(folder, '0-1', f'0-{args.processes}')
            one, many = spent.values()
            text = ', '.join(f'{kind} {one[kind]:.1f} and {many[kind]:.1f} s' for kind in KINDS)
            others = max(one['others'], many['others'])
            print(
                f'  round {turn + 1}: {text}; others took {others:.2f} cores{" (BUSY)" * (others > BUSY)}', flush=True
            )
            rounds.append((one, many))
    ratios = {kind: median(one[kind] / many[kind] for one, many in rounds) for kind in KINDS}
    print('  ratios: ' + ', '.join(f'{kind} {ratio:.2f}' for kind, ratio in ratios.items()))
    if args.json:
        Path(args.json).write_text(json.dumps(dict(ratios=ratios, rounds=rounds)))


if __name__ == '__main__':
    main()
