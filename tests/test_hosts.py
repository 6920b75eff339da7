"""What is changed in the hosts: only when asked for, and what it brings."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import mmengine.logging
import pytest
import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import get_config
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner import checkpoint as host_checkpoint
from torch import distributed, nn

from mmposenc.host.patches import prepare_hosts, prepare_processes

pytestmark = pytest.mark.usefixtures('hosts_unchanged')


class Touch:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f'touch {self.path}',)


def test_nothing_changes_before_the_call() -> None:
    before = (CheckpointLoader._schemes[''], mmengine.logging.print_log, MODULE2PACKAGE['mmseg'])
    assert before[0] is host_checkpoint.load_from_local
    assert before[2] == 'mmsegmentation'
    prepare_hosts()
    after = (CheckpointLoader._schemes[''], mmengine.logging.print_log, MODULE2PACKAGE['mmseg'])
    assert all(new != old for new, old in zip(after, before, strict=True))


def test_a_config_can_start_from_mmseg_and_from_mmpretrain(tmp_path: Path) -> None:
    prepare_hosts()
    path = tmp_path / 'config.py'
    path.write_text("_base_ = 'mmseg::_base_/models/deeplabv3_r50-d8.py'\n")
    assert Config.fromfile(path).model.decode_head.type == 'ASPPHead'
    path.write_text("_base_ = 'mmpretrain::_base_/models/resnet18_cifar.py'\n")
    assert Config.fromfile(path).model.backbone.type == 'ResNet_CIFAR'


def test_nothing_is_installed_behind_the_users_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail(f'a process was started: {args}')

    prepare_hosts()
    for name in ('run', 'Popen', 'call', 'check_call'):
        monkeypatch.setattr(subprocess, name, refuse)
    monkeypatch.setattr(os, 'system', refuse)
    with pytest.raises(ImportError, match='mmpose is not installed; install the OpenMMLab stack'):
        get_config('mmpose::a/b.py')
    assert get_config('mmseg::_base_/models/fcn_r50-d8.py').model.decode_head.type == 'FCNHead'


@pytest.mark.parametrize('way', ['file', 'download', 'helper'])
def test_no_way_to_a_checkpoint_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    path, trace = tmp_path / 'bad.pth', tmp_path / 'ran'
    torch.save({'state_dict': {}, 'bad': Touch(trace)}, path)

    def read() -> None:
        if way == 'file':
            load_checkpoint(nn.Linear(1, 1), str(path))
        elif way == 'download':
            host_checkpoint.load_from_http(path.as_uri(), map_location='cpu')
        else:
            host_checkpoint._safe_torch_load(str(path))

    if way == 'helper' and not hasattr(host_checkpoint, '_safe_torch_load'):
        pytest.skip('only the fork has this helper')
    prepare_hosts()
    with pytest.raises(ValueError, match='it asks for'):
        read()
    assert not trace.exists()
    prepare_hosts(trust_checkpoint=True)
    read()
    assert trace.exists()


def test_an_ordinary_checkpoint_still_loads(tmp_path: Path) -> None:
    prepare_hosts()
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'good.pth')
    load_checkpoint(other, str(tmp_path / 'good.pth'))
    assert torch.equal(model.weight, other.weight)


def test_only_debug_messages_without_a_logger_are_dropped(capsys: pytest.CaptureFixture) -> None:
    prepare_hosts()
    prepare_hosts()
    mmengine.logging.print_log('inside', level=10)
    mmengine.logging.print_log('told')
    assert capsys.readouterr().out == 'told\n'


@pytest.mark.slow
def test_importing_the_hosts_and_their_hooks_is_silent(tmp_path: Path) -> None:
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
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    # PyTorch 2.4 announces, past every filter, that a part of it which mmengine imports will go.
    said = re.sub(r'.*DeprecationWarning: `TorchScript`.*\n.*\n', '', done.stderr)
    assert (done.returncode, done.stdout, said) == (0, '', '')


def test_several_processes_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.cuda, 'set_device', torch.cuda.set_device)  # put back after the test
    distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/rendezvous', rank=0, world_size=1)
    try:
        cfg = Config(dict(launcher='pytorch', env_cfg=dict(mp_cfg=dict(a=1), dist_cfg=dict(backend='nccl', timeout=9))))
        prepare_processes(cfg)
        assert cfg.env_cfg == dict(mp_cfg=dict(a=1), dist_cfg=dict(backend='gloo', timeout=9))
        torch.cuda.set_device(0)  # As mmengine does before it starts the group.
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            # As the Runner builds it, which names the index of a GPU.
            wrapped = MODEL_WRAPPERS.build(
                cfg.model_wrapper_cfg, default_args=dict(module=nn.Linear(2, 1), device_ids=[0])
            )
        wrapped(torch.tensor([[1.0, 3.0]])).sum().backward()
        assert wrapped.module.weight.grad.tolist() == [[1, 3]]
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize('gpu', [True, False])
def test_processes_wait_for_one_another_for_half_an_hour(monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.setattr(torch.cuda, 'set_device', torch.cuda.set_device)  # put back after the test
    cfg = Config(dict(launcher='pytorch'))
    prepare_processes(cfg)
    assert cfg.env_cfg.dist_cfg.timeout == 1800
    cfg = Config(dict(launcher='pytorch', env_cfg=dict(dist_cfg=dict(backend='nccl', timeout=9))))
    prepare_processes(cfg)
    assert cfg.env_cfg.dist_cfg == dict(backend='nccl' if gpu else 'gloo', timeout=9)


def test_a_wrapper_of_the_users_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = Config(dict(launcher='slurm', model_wrapper_cfg=dict(type='MMFullyShardedDataParallel')))
    prepare_processes(cfg)
    assert cfg.model_wrapper_cfg == dict(type='MMFullyShardedDataParallel')
