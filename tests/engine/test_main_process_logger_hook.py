"""Of several processes the first alone writes the figures of a test."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.dist import utils

from mmposenc.mm.hooks.main_process_logger import MainProcessLoggerHook


@pytest.mark.parametrize('rank, written', [(0, ['test.json']), (1, [])])
def test_the_file_is_the_first_processs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rank: int, written: list[str]
) -> None:
    figures = {'accuracy/top1': 57.1, 'time': 0.5}
    runner = SimpleNamespace(
        log_processor=SimpleNamespace(get_log_after_epoch=lambda *_, **__: (figures, 'accuracy/top1: 57.1')),
        logger=logging.Logger('run'),
        log_dir=str(tmp_path),
        test_dataloader=range(3),
    )
    hook = MainProcessLoggerHook()
    hook.json_log_path = 'test.json'
    monkeypatch.setattr(utils, 'get_rank', lambda group=None: rank)
    hook.after_test_epoch(runner, figures)
    assert [path.name for path in tmp_path.iterdir()] == written
    assert all(json.loads(path.read_text()) == figures for path in tmp_path.iterdir())
