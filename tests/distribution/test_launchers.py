"""The scripts for several machines: two "nodes" on one machine, and Slurm with stand-ins for its commands."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from started import Command, free_port, run_together, torchrun

from mmposenc.host.checkpoints import read_checkpoint

TOOLS = Path(__file__).parents[2] / 'tools'
OPTIONS = ['--cfg-options', 'train_cfg.max_epochs=1', 'model.head.topk=(1,)', 'note=two words']
SRUN = """#!{python}
import json, os, subprocess, sys
json.dump(sys.argv[1:], open(os.environ['RECORD'], 'w'))
tasks = int(sys.argv[sys.argv.index('--ntasks') + 1])
slurm = dict(SLURM_NTASKS=str(tasks), SLURM_NODELIST='machine[7]')
command = sys.argv[sys.argv.index('python'):]
processes = [
    subprocess.Popen(command, env=dict(os.environ, SLURM_PROCID=str(task), SLURM_LOCALID=str(task), **slurm))
    for task in range(tasks)
]
sys.exit(max(process.wait() for process in processes))
"""
SCONTROL = '#!/bin/sh\n[ "$*" = "show hostname machine[7]" ] && echo 127.0.0.1\n'


@pytest.fixture
def config(classifier_config: Path, tmp_path: Path) -> str:
    """In a folder whose name has a space; 14 images to train with, and 7 to test with that fit neither class."""
    generator = np.random.default_rng(0)
    for image in sorted((tmp_path / 'images' / 'val').rglob('*.png')):
        cv2.imwrite(str(image), generator.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    path = tmp_path / 'my configs' / 'tiny.py'
    path.parent.mkdir()
    path.write_text(f"_base_ = '{classifier_config}'\ncustom_imports = dict(imports=['mmposenc'])\n")
    return str(path)


@pytest.fixture
def slurm(tmp_path: Path) -> str:
    """A folder with an srun that starts its tasks here, and an scontrol that knows where here is."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name, text in (('srun', SRUN.format(python=sys.executable)), ('scontrol', SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return str(folder)


def on_two_nodes(script: str, *arguments: str) -> list[Command]:
    """The same command on either "machine", with one process each."""
    port = free_port()
    return [
        (['bash', str(TOOLS / script), *arguments], {'NNODES': '2', 'NODE_RANK': node, 'PORT': port})
        for node in ('0', '1')
    ]


def by_slurm(script: str, *arguments: str) -> Command:
    variables = dict(GPUS='2', MASTER_PORT=free_port(), RECORD=f'{script}.json', SRUN_ARGS='--exclusive --time 10:00')
    return ['bash', str(TOOLS / script), 'a partition', 'my job', *arguments], variables


def figures(folder: str) -> dict[str, Any]:
    """What a test wrote down, to the last digit, but for the times."""
    (path,) = Path(folder).glob('*/*.json')
    return {name: value for name, value in json.loads(path.read_text()).items() if 'time' not in name}


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.timeout(480)  # Ten processes import the hosts.
def test_two_nodes_and_slurm(tool: Callable, config: str, slurm: str) -> None:
    train = [config, '--resume', '--deterministic', '--work-dir']
    first, second, task = run_together(
        *on_two_nodes('dist_train.sh', config, '1', *train[1:], 'nodes', *OPTIONS),
        by_slurm('slurm_train.sh', *train, 'slurm', *OPTIONS),
        bin_folder=slurm,
    )
    for output, folder in ((first, 'nodes'), (task, 'slurm')):
        assert output.count('starting from the beginning') == 1, 'the first process speaks for all'
        assert output.count('done: ') == 1
        assert [path.name for path in Path(folder).glob('*.pth')] == ['epoch_1.pth']
    assert 'done: ' not in second
    assert 'Warning' not in task
    # However two processes are started: one batch of 7 each, and the same bits after it.
    nodes, slurms = (read_checkpoint(f'{folder}/epoch_1.pth') for folder in ('nodes', 'slurm'))
    assert nodes['meta']['iter'] == slurms['meta']['iter'] == 1
    assert all(torch.equal(value, slurms['state_dict'][name]) for name, value in nodes['state_dict'].items())
    resources = ['--ntasks', '2', '--ntasks-per-node', '2', '--gres', 'gpu:2', '--cpus-per-task', '5']
    assert json.loads(Path('slurm_train.sh.json').read_text()) == [
        *['--partition', 'a partition', '--job-name', 'my job', '--kill-on-bad-exit=1', *resources],
        *['--exclusive', '--time', '10:00'],
        *['python', '-u', str(TOOLS / 'train.py'), config, '--launcher', 'slurm', *train[1:], 'slurm', *OPTIONS],
    ]

    weights, port = 'nodes/epoch_1.pth', free_port()
    rank = [str(TOOLS / 'rank_channels.py'), config, weights, '--layer', 'neck', '--out']
    place = ['--nproc_per_node', '1', '--nnodes', '2', '--master_addr', '127.0.0.1', '--master_port', port]
    outputs = run_together(
        *on_two_nodes('dist_test.sh', config, weights, '1', '--work-dir', 'test-nodes'),
        by_slurm('slurm_test.sh', config, weights, '--work-dir', 'test-slurm'),
        *((torchrun(*place, '--node_rank', node, *rank, 'nodes.json'), {}) for node in ('0', '1')),
        bin_folder=slurm,
    )
    assert [output.count('done: ') for output in outputs] == [1, 0, 1, 1, 0], 'the first of two, each time'
    tool('test')([config, weights, '--work-dir', 'test-one'])
    assert figures('test-nodes') == figures('test-slurm') == figures('test-one')
    assert 0 < figures('test-one')['accuracy/top1'] < 100, 'so many of 7 images, none twice'
    tool('rank')([*rank[1:], 'one.json'])
    assert Path('nodes.json').read_bytes() == Path('one.json').read_bytes()
