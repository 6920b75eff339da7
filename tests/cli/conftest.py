"""What the tests of subcommands share: a segmenter's weights, and a command that must fail."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch


@pytest.fixture
def fails(tool: Callable, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs a subcommand as from the command line; it must end with status 1 and one line, which is returned."""
    from mmposenc.host import errors

    def run(name: str, *arguments: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as info:
            errors.run(lambda: tool(name)(list(arguments)))
        error = capsys.readouterr().err
        assert (info.value.code, error.count('\n')) == (1, 1), error
        return error

    return run


@pytest.fixture
def segmenter(segmenter_config: Path, tmp_path: Path) -> torch.nn.Module:
    """The network of `segmenter_config`, whose weights are in weights.pth."""
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(segmenter_config).model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'weights.pth')
    return model
