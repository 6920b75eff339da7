"""`import mmposenc` is light, the public functions need torch, numpy and scipy alone, and their examples run."""

import doctest
import importlib
import subprocess
import sys
import textwrap

import pytest
import torch
import torchvision

import mmposenc

PLACES = {name: f'{getattr(mmposenc, name).__module__}' for name in mmposenc.__all__ if not name.startswith('_')}
EXAMPLES = ['mmposenc', 'mmposenc.batches', 'mmposenc.layers', 'mmposenc.ranking', *sorted(set(PLACES.values()))]


def run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, '-W', 'error::UserWarning', '-c', textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light_and_silent():
    assert run("import sys, mmposenc; print([name for name in ('torch', 'mmengine') if name in sys.modules])") == '[]\n'


def test_the_public_functions_without_openmmlab_torchvision_opencv_or_matplotlib():
    script = """
        import sys

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.partition('.')[0] in (
                    'mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'torchvision', 'cv2', 'matplotlib', 'rich', 'timm'
                ):
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, Refuse())
        import mmposenc
        for name in mmposenc.__all__:
            getattr(mmposenc, name)
        import torch
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU())
        ranking = mmposenc.rank_channels(net, [torch.rand(2, 3, 8, 8)], '1')
        with mmposenc.ablate_channels(net, '1', mmposenc.top_channels(ranking, 4), num_channels=ranking.num_channels):
            print(net(torch.rand(1, 3, 8, 8)).abs().max().item(), ranking.num_images)
        """
    assert run(script) == '0.0 2\n'


def test_names():
    assert set(mmposenc.__all__) == {'__version__', *mmposenc._PLACE} <= set(dir(mmposenc))
    assert all(place.startswith('mmposenc') for place in PLACES.values())
    with pytest.raises(AttributeError, match="has no attribute 'rank_channel'"):
        mmposenc.rank_channel  # noqa: B018


@pytest.mark.parametrize('name', dict.fromkeys(EXAMPLES))
def test_examples_run(name):
    module = importlib.import_module(name)
    torch.manual_seed(0)
    failed, _ = doctest.testmod(
        module,
        extraglobs={'torch': torch, 'torchvision': torchvision, 'mmposenc': mmposenc, 'Ranking': mmposenc.Ranking},
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert not failed


@pytest.mark.parametrize('name', [name for name, place in PLACES.items() if name.islower()])
def test_each_public_function_has_an_example(name):
    assert '>>> ' in getattr(mmposenc, name).__doc__
