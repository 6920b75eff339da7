"""The public functions need torch, numpy and scipy alone, and their examples run."""

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
    command = [sys.executable, '-W', 'error::UserWarning', '-c', textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_public_functions_need_torch_numpy_and_scipy_alone(tmp_path):
    """Every public function runs, and AugShift trains, where nothing else can be imported; figures name their extra."""
    script = """
        import sys
        others = 'mmengine mmcv mmpretrain mmseg torchvision timm cv2 PIL matplotlib jinja2 rich tqdm sklearn'
        sys.modules.update(dict.fromkeys(others.split()))  # None: importing them fails
        import mmposenc
        for name in mmposenc.__all__:
            getattr(mmposenc, name)
        import torch
        from mmposenc.layers import record_pooled
        torch.manual_seed(0)
        body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU())
        net = torch.nn.Sequential(body, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2))
        images, labels = torch.rand(8, 3, 8, 8), torch.arange(8) % 2
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        before = body[0].weight.clone()
        for _ in range(2):
            with record_pooled(net, '0') as record:
                scores = net(torch.cat(mmposenc.two_views(images, max_shift=2)))
            loss = mmposenc.augshift_loss(scores.chunk(2), record.take().chunk(2), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loader = [(images, labels)]
        ranking = mmposenc.rank_channels(net, loader, '0')
        with mmposenc.ablate_channels(net, '0', mmposenc.top_channels(ranking, 4), num_channels=4):
            ablated = net(images) - net[3].bias
        print(loss.isfinite().item(), (body[0].weight != before).any().item(), ablated.abs().max().item())
        sweep = mmposenc.sweep_channels(net, loader, [ranking], range(5), num_random=19)
        card = mmposenc.shift_consistency(net, loader, [2], ['zero_ref', 'roll_pair'])
        probe = mmposenc.probe_location(net, images, ['0'], 3, 8, controls=['circular', 'random'], seeds=[0])
        test = mmposenc.chance_test(torch.ones(3), torch.rand(39, 3))
        for name, result in dict(ranking=ranking, sweep=sweep, card=card, probe=probe, test=test).items():
            path = 'FOLDER/' + name
            result.save(path)
            assert type(result).load(path).table() == result.table() != []
            assert '<table>' in result._repr_html_()
            if name != 'test':
                try:
                    result.plot()
                except ModuleNotFoundError as error:
                    print(error)
        """
    lines = run(script.replace('FOLDER', str(tmp_path))).splitlines()
    assert lines == ['True True 0.0'] + 4 * ["figures need matplotlib: pip install 'mmposenc[figures]'"]


def test_names():
    assert set(mmposenc.__all__) == {'__version__', *mmposenc._PLACE} <= set(dir(mmposenc))
    assert all(place.startswith('mmposenc') for place in PLACES.values())
    with pytest.raises(AttributeError, match="has no attribute 'rank_channel'"):
        mmposenc.rank_channel  # noqa: B018


@pytest.mark.parametrize('name', dict.fromkeys(EXAMPLES))
def test_examples_run(name):
    module = importlib.import_module(name)
    torch.manual_seed(0)
    names = {'torch': torch, 'torchvision': torchvision, 'mmposenc': mmposenc, 'Ranking': mmposenc.Ranking}
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert not doctest.testmod(module, extraglobs=names, optionflags=flags).failed


@pytest.mark.parametrize('name', [name for name, place in PLACES.items() if name.islower()])
def test_each_public_function_has_an_example(name):
    assert '>>> ' in getattr(mmposenc, name).__doc__
