"""Reading a config and its overrides, and saying in one line what is wrong with them (ours)."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config, DictAction

__all__ = ['Options', 'read_config']

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_DICTS = ('model', *_LOADERS, 'train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper', 'default_hooks', 'env_cfg')
_MOST_WORKERS = 1024
_TEXTS = ('default_scope', 'work_dir', 'load_from')


def read_config(path: str, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file with overrides; the file is a program and runs (ours).

    Args:
        path: The file.
        options: Overrides by their dotted names.

    Raises:
        ValueError: If the file is no valid Python or fails, an override does not fit it, or an entry that every tool
            reads is not of its kind.
    """
    try:
        cfg = Config.fromfile(path)
    except SyntaxError as error:
        raise ValueError(f'config {path}, or one that it starts from, is no valid Python: {error}') from error
    except RecursionError as error:
        raise ValueError(f'config {path} starts from itself, or is nested too deep: {error}') from error
    except OSError as error:
        raise type(error)(f'config {path} cannot be read: {error}') from error
    except ImportError as error:
        reason = (str(error).splitlines() or [''])[0]
        raise ImportError(f'config {path}: {reason:.300}; is its folder in PYTHONPATH?') from error
    except Exception as error:  # it is a program, and fails in its own way
        reason = f'{type(error).__name__}: {error!s:.300}'
        raise ValueError(f'config {path}, or one that it starts from, fails: {reason}') from error
    try:
        cfg.merge_from_dict(dict(options or {}))
    except Exception as error:
        reason = f'{type(error).__name__}: {error!s:.300}'
        raise ValueError(f'--cfg-options {" ".join(options or ()):.200} do not fit config {path}: {reason}') from error
    _check_kinds(cfg, path)
    if cfg.get('default_hooks') is None:
        cfg.pop('default_hooks', None)  # to the host, None means its own, as does none
    return cfg


class Options(DictAction):
    """`--cfg-options` of mmengine, with a message for an override that is none (ours)."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Parse KEY=VALUE."""
        wrong = [value for value in values if not value.partition('=')[0].strip() or '=' not in value]
        if wrong:
            parser.error(f'--cfg-options takes KEY=VALUE, got {" ".join(wrong):.200}')
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, RecursionError, ValueError) as error:
            parser.error(f'--cfg-options takes KEY=VALUE, got {" ".join(values):.200}: {error!s:.200}')


def _check_kinds(cfg: Config, path: str) -> None:
    kinds = {**dict.fromkeys(_DICTS, (dict, 'a dict')), **dict.fromkeys(_TEXTS, (str, 'text'))}
    for name, (kind, called) in kinds.items():
        value = cfg.get(name)
        if value is not None and not isinstance(value, kind):
            raise ValueError(f'{name} in config {path} must be {called}, got {value!r:.60}')
    hooks = cfg.get('custom_hooks') or []
    if not isinstance(hooks, list | tuple) or not all(isinstance(hook, dict) for hook in hooks):
        raise ValueError(f'custom_hooks in config {path} must be a list of dicts, got {hooks!r:.60}')
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if hook is not None and not (isinstance(hook, dict) and hook.get('type')):
            raise ValueError(
                f'default_hooks.{name!s:.60} in config {path} must be a dict with a type, got {hook!r:.60}'
            )
    for name in _LOADERS:
        loader = cfg.get(name) or {}
        workers = loader.get('num_workers', 0)
        if not isinstance(workers, int) or not 0 <= workers <= _MOST_WORKERS:
            allowed = f'an integer from 0 to {_MOST_WORKERS}'
            raise ValueError(f'{name}.num_workers in config {path} must be {allowed}, got {workers!r:.60}')
    loop = (cfg.get('train_cfg') or {}).get('type')
    if loop is not None and not (isinstance(loop, str) or callable(loop)):
        raise ValueError(f'train_cfg.type in config {path} must name a loop, got {loop!r:.60}')
