"""What mmengine, mmcv, mmpretrain and mmseg need on a current PyTorch, each point with its reason."""

import inspect
import logging
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.error import URLError
from urllib.parse import urlparse

import mmengine.evaluator.metric
import mmengine.fileio.file_client
import mmengine.hub.hub
import mmengine.logging
import torch
from mmengine.config import Config
from mmengine.dist import utils as host_processes
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as host_checkpoint
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from mmposenc.host.checkpoints import read_checkpoint
from mmposenc.host.config import replace_sync_bn, resolve_config_packages

_hosts_print_log = mmengine.logging.print_log


def prepare_hosts(trust_checkpoint: bool = False) -> None:
    """Change the hosts' config packages, checkpoint loaders and noise; called by the command line, never by an import.

    Calling it again changes nothing but whether checkpoints may run code.
    """
    resolve_config_packages()
    # It runs the pip of PATH when it believes that a package is missing, over an `onedl-` stack that would overwrite
    # the same folders.
    mmengine.hub.hub.install_package = _require_package
    _load_checkpoints_safely(trust_checkpoint)
    # Messages about the hosts' own insides, each at the place it comes from. `CheckpointHook` announces at every save
    # that its own `FileClient` is deprecated; mmcv that it has no compiled operators, which nothing here uses; mmseg's
    # hook that it draws only when told to; the official mmengine looks packages up by `pkg_resources`.
    mmengine.logging.print_log = mmengine.evaluator.metric.print_log = _print_log
    mmengine.fileio.file_client.print_log = lambda *args, **kwargs: None
    for message in ('Fail to import ``MultiScaleDeformableAttention``', 'The draw is False', 'pkg_resources is'):
        warnings.filterwarnings('ignore', message=message)


def prepare_processes(cfg: Config) -> bool:
    """Make several processes possible without a GPU; returns whether SyncBN, which needs one, was replaced.

    mmengine selects a CUDA device when it starts the process group, unless there is a group, and hands its index to
    the model wrapper; on a CPU both fail.
    """
    # PyTorch renamed the option, and warns of the old name.
    renamed = 'forward_sync_buffers' in inspect.signature(DistributedDataParallel).parameters
    cfg.model_wrapper_cfg = cfg.get('model_wrapper_cfg') or {
        'type': 'MMDistributedDataParallel',
        'find_unused_parameters': cfg.get('find_unused_parameters', False),
        'forward_sync_buffers' if renamed else 'broadcast_buffers': False,
    }
    environment = cfg.get('env_cfg') or {}
    # Seconds. A process that ends is noticed at once; this is for one that hangs.
    cfg.env_cfg = {**environment, 'dist_cfg': {'timeout': 1800, **environment.get('dist_cfg', {})}}
    if torch.cuda.is_available():
        return False
    cfg.model_wrapper_cfg.device_ids = None
    cfg.env_cfg.dist_cfg.backend = 'gloo'
    if not distributed.is_initialized():
        start = getattr(host_processes, f'_init_dist_{cfg.launcher}')
        try:
            with patch.object(torch.cuda, 'set_device'):
                start('gloo', timeout=timedelta(seconds=cfg.env_cfg.dist_cfg.timeout))
        except KeyError as error:
            needed = f'{error.args[0]} in the environment; start it by its launcher'
            raise ValueError(f'--launcher {cfg.launcher} needs {needed}') from None
    return replace_sync_bn(cfg.get('model'))


def _require_package(package: str) -> None:
    if not mmengine.utils.is_installed(package):
        raise ImportError(f"{package} is not installed; install the OpenMMLab stack: pip install 'mmposenc[onedl]'")


def _load_checkpoints_safely(trust: bool) -> None:
    """Local files, downloads and the fork's own helper all go through `read_checkpoint`.

    mmengine 0.10.7 cannot read its own checkpoints on PyTorch 2.6 and later; onedl-mmengine falls back to an
    unrestricted pickle on any error; `torch.hub`, behind both hosts' downloads, is unrestricted by default.
    """

    def load_from_local(filename: str, map_location: Any = None) -> Any:
        return read_checkpoint(filename, map_location, trust)

    def load_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True) -> Any:
        file = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'), Path(urlparse(url).path).name)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(url, str(file), progress=progress)
            except URLError as error:
                raise OSError(f'{url} cannot be downloaded ({error}): put it at {file}') from error
        return read_checkpoint(file, map_location, trust)

    def load_file(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
        return read_checkpoint(file, map_location, trust and not weights_only)

    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    host_checkpoint.load_url = load_url
    if hasattr(host_checkpoint, '_safe_torch_load'):
        host_checkpoint._safe_torch_load = load_file


def _print_log(msg: Any, logger: Any = None, level: int = logging.INFO) -> None:
    """mmengine's, without debug messages that have no logger, and without its warning of metrics' prefixes."""
    if (logger is not None or level >= logging.INFO) and 'prefix is not set' not in str(msg):
        _hosts_print_log(msg, logger, level)
