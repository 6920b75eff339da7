"""One switch for runs that give the same bits each time (ours)."""

import os

from mmengine.config import Config

from mmposenc.host.config_changes import type_name

__all__ = ['deterministic']


def deterministic(cfg: Config) -> None:
    """Let the same seed give the same bits, on the same machine with as many processes and threads (ours).

    The seed stays, 0 where the config has none. PyTorch takes deterministic algorithms only, and refuses an operation
    that has none; cuDNN does not choose by timing; nothing is compiled, since compilers choose by timing too.
    """
    randomness = cfg.get('randomness') or {}
    seed = 0 if randomness.get('seed') is None else randomness['seed']
    cfg.randomness = {**randomness, 'seed': seed, 'deterministic': True}
    cfg.env_cfg = {**(cfg.get('env_cfg') or {}), 'cudnn_benchmark': False}
    cfg.compile = False
    hooks = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [hook for hook in hooks if type_name(hook) != 'mmposenc.CompileBackboneHook']
    # cuBLAS reads it when CUDA starts, and PyTorch refuses a matrix product without it.
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
