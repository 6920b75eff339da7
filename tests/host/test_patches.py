"""What is changed in OpenMMLab's packages, and what it brings."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import get_config
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import checkpoint as host_checkpoint
from mmengine.runner import load_checkpoint
from torch import distributed, nn
from toy_training import Calls

from mmposenc.host.patches import prepare_hosts, prepare_processes


def test_nothing_is_installed_behind_the_users_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((subprocess, 'Popen'), (os, 'system')):
        monkeypatch.setattr(module, name, lambda *args, **kwargs: pytest.fail(f'a process was started: {args}'))
    with pytest.raises(ImportError, match='mmpose is not installed; install the OpenMMLab stack'):
        get_config('mmpose::a/b.py')
    assert MODULE2PACKAGE['mmseg'] == 'mmseg'
    assert get_config('mmseg::_base_/models/fcn_r50-d8.py').model.decode_head.type == 'FCNHead'


@pytest.mark.parametrize('way', ['file', 'download', 'helper'])
def test_no_way_to_a_checkpoint_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    path, trace = tmp_path / 'bad.pth', tmp_path / 'ran'
    torch.save({'state_dict': {}, 'bad': Calls(os.system, f'touch {trace}')}, path)
    read = {
        'file': lambda: load_checkpoint(nn.Linear(1, 1), str(path)),
        'download': lambda: host_checkpoint.load_from_http(path.as_uri(), map_location='cpu'),
        'helper': lambda: host_checkpoint._safe_torch_load(str(path)),
    }[way]
    if way == 'helper' and not hasattr(host_checkpoint, '_safe_torch_load'):
        pytest.skip('only the fork has this helper')
    with pytest.raises(ValueError, match='it asks for'):
        read()
    assert not trace.exists()
    prepare_hosts(trust_checkpoint=True)
    read()
    assert trace.exists()


def test_a_failed_download_names_the_file_and_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    url, place = (tmp_path / 'nowhere' / 'a.pth').as_uri(), tmp_path / 'hub' / 'checkpoints' / 'a.pth'
    with pytest.raises(OSError, match=f'^{url} cannot be downloaded .*: put it at {place}$'):
        host_checkpoint.load_from_http(url)


@pytest.mark.slow
def test_importing_the_stack_is_silent(tmp_path: Path) -> None:
    code = """if True:
        from mmposenc.host.patches import prepare_hosts
        prepare_hosts()
        import mmcv.cnn, mmpretrain.datasets, mmseg.datasets, mmseg.models
        from mmengine.fileio import FileClient
        from mmengine.utils import is_installed
        from mmseg.engine.hooks import SegVisualizationHook
        from mmengine.visualization import Visualizer
        from mmseg.evaluation import IoUMetric
        Visualizer.get_instance('any'), is_installed('mmseg')
        FileClient.infer_client(None, '/tmp'), SegVisualizationHook(), IoUMetric()
    """
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    environment = dict(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT='0')
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_several_processes_without_a_gpu(without_gpu: None) -> None:
    select = torch.cuda.set_device
    cfg = Config(dict(launcher='pytorch', env_cfg=dict(mp_cfg=dict(a=1), dist_cfg=dict(backend='nccl', timeout=9))))
    try:
        assert not prepare_processes(cfg)
        assert distributed.get_backend() == 'gloo'
        assert cfg.env_cfg == dict(mp_cfg=dict(a=1), dist_cfg=dict(backend='gloo', timeout=9))
        assert torch.cuda.set_device is select
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            # As the Runner builds it, which names the index of a GPU.
            given = dict(module=nn.Linear(2, 1), device_ids=[0])
            wrapped = MODEL_WRAPPERS.build(cfg.model_wrapper_cfg, default_args=given)
        wrapped(torch.tensor([[1.0, 3.0]])).sum().backward()
        assert wrapped.module.weight.grad.tolist() == [[1, 3]]
        again = Config(dict(launcher='pytorch', model=dict(norm_cfg=dict(type='SyncBN'))))
        assert prepare_processes(again), 'SyncBN was replaced; the group is left alone'
        assert again.env_cfg.dist_cfg.timeout == 1800
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize('launcher, absent', [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_COMM')])
def test_a_launcher_that_did_not_start_it(without_gpu, monkeypatch, launcher: str, absent: str) -> None:
    monkeypatch.delenv('RANK')
    with pytest.raises(ValueError, match=rf'--launcher {launcher} needs {absent}\w* in the environment'):
        prepare_processes(Config(dict(launcher=launcher)))
    assert not distributed.is_initialized()


def test_gpus_are_left_to_mmengine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    own = dict(model_wrapper_cfg=dict(type='MMFullyShardedDataParallel'), env_cfg=dict(dist_cfg=dict(timeout=9)))
    cfg = Config(dict(launcher='slurm', **own))
    assert not prepare_processes(cfg)
    assert {name: cfg[name] for name in own} == own, "the user's own"
    assert not distributed.is_initialized()
