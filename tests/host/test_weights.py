"""Weights in every form that people have them, and the refusal of what does not fit."""

import re
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mmposenc.host.weights import build_network, load_weights, weights_by_order


def network(classes=3):
    model = nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 3), bn=nn.BatchNorm2d(4), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    )
    model.add_module('fc', nn.Linear(4, classes))
    return model


@pytest.fixture
def weights():
    torch.manual_seed(1)
    model = network()
    for value in model.state_dict().values():
        value.copy_(torch.rand(value.shape) * 9)
    return model.state_dict()


def under(prefix, weights, factor=1):
    return {f'{prefix}{name}': value * factor for name, value in weights.items()}


FORMS = {
    'plain': (lambda w: dict(w), 'its top level'),
    'state_dict': (lambda w: {'state_dict': w, 'optimizer': {'state': {0: {'m': w['fc.bias']}}}}, "its 'state_dict'"),
    'distributed': (lambda w: {'model': under('module.', w)}, "its 'model'"),
    'compiled and distributed': (lambda w: under('module._orig_mod.', w), 'its top level'),
    'inner part compiled': (lambda w: {n.replace('conv.', 'conv._orig_mod.'): v for n, v in w.items()}, 'its top'),
    'Lightning': (
        lambda w: {'state_dict': under('model.', w) | {'criterion.weight': w['fc.bias']}, 'optimizer_states': []},
        r"prefix 'model.'; left out 1, first criterion.weight",
    ),
    'backbone of mmseg': (
        lambda w: {'meta': {}, 'state_dict': under('backbone.', w) | {'decode_head.conv_seg.bias': w['fc.bias']}},
        "prefix 'backbone.'; left out 1",
    ),
    "timm's average": (
        lambda w: {'state_dict': under('', w, 2), 'state_dict_ema': w},
        r"its 'state_dict_ema' \(moving average\); would fit too: its 'state_dict'",
    ),
    "Lightning's average": (
        lambda w: {'state_dict': under('net.', w, 2) | under('ema.module.', w)},
        r"prefix 'ema.' \(moving average\); left out 9.* would fit too: its 'state_dict', prefix 'net.'",
    ),
    "mmengine's average": (
        lambda w: {'meta': {'mmengine_version': '1'}, 'state_dict': w, 'ema_state_dict': under('module.', w, 2)},
        "its 'state_dict'$",
    ),
    'average of a part': (
        lambda w: {'state_dict': w, 'state_dict_ema': {'conv.weight': 2 * w['conv.weight']}},
        "its 'state_dict'$",
    ),
    'without counters': (lambda w: {n: v for n, v in w.items() if 'num_batches' not in n}, '8 tensors'),
}


@pytest.mark.parametrize('form', FORMS)
def test_what_is_found_is_loaded(form, weights, tmp_path):
    make, said = FORMS[form]
    torch.save(make(weights), tmp_path / 'w.pth')
    model = network()
    assert re.search(said, load_weights(model, tmp_path / 'w.pth'))
    for name, value in model.state_dict().items():
        if 'num_batches' not in name:
            assert torch.equal(value, weights[name])


def test_wrapped_models_and_safetensors(weights, tmp_path):
    save_file(under('model.', {n: v.half() for n, v in weights.items()}), tmp_path / 'w.safetensors')
    model = nn.DataParallel(torch.compile(network(), backend='eager'))
    assert "prefix 'model.'" in load_weights(model, tmp_path / 'w.safetensors')
    assert torch.equal(model.module.fc.weight, weights['fc.weight'].half().float())


def test_by_order(weights, tmp_path):
    given = {f'layer{i}.x': v for i, (n, v) in enumerate(weights.items()) if 'num_batches' not in n}
    torch.save(given, tmp_path / 'w.pth')
    model = network()
    with pytest.raises(ValueError, match=r'none of its names ends in conv\.weight\. All shapes agree .*--weights-by'):
        load_weights(model, tmp_path / 'w.pth')
    assert '8 tensors' in weights_by_order(model, tmp_path / 'w.pth')
    assert all(torch.equal(v, weights[n]) for n, v in model.state_dict().items() if 'num_batches' not in n)
    with pytest.raises(ValueError, match=r'layer7\.x is \(3, 4\), fc\.weight is \(5, 4\)'):
        weights_by_order(network(5), tmp_path / 'w.pth')
    with pytest.raises(ValueError, match='holds 8 tensors, Linear has 2: not the same network'):
        weights_by_order(nn.Linear(2, 2), tmp_path / 'w.pth')


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda w: w.pop('fc.bias'), '1 missing, first fc.bias'),
        (lambda w: w.update(extra=torch.ones(1)), '1 unexpected, first extra'),
        (lambda w: w.update({'fc.weight': torch.ones(5, 4)}), '1 of another shape, first size mismatch for fc.weight'),
        (lambda w: w.clear(), 'holds no tensors by name'),
        (lambda w: w.update({'module.fc.bias': torch.ones(5)}), 'twice, with and without the prefix of a wrapper'),
    ],
)
def test_what_does_not_fit_is_refused(change, message, weights, tmp_path):
    change(weights)
    torch.save({'state_dict': weights, 'epoch': 1}, tmp_path / 'w.pth')
    with pytest.raises(ValueError, match=message):
        load_weights(network(), tmp_path / 'w.pth')


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / 'w.safetensors').write_bytes(b'no')
    with pytest.raises(ValueError, match='damaged or not a safetensors file'):
        load_weights(network(), tmp_path / 'w.safetensors')
    for name in ('gone.safetensors', 'gone.pth'):
        with pytest.raises(FileNotFoundError, match='does not exist; check the path'):
            load_weights(network(), tmp_path / name)


def test_networks_by_name(tmp_path):
    (tmp_path / 'mine.py').write_text('import torch\ndef tiny(num_classes=2): return torch.nn.Linear(3, num_classes)\n')
    assert build_network(f'{tmp_path}/mine.py:tiny').out_features == 2
    assert build_network(f'{tmp_path}/mine.py:tiny', 5).out_features == 5
    assert build_network('timm:resnet10t', 7).fc.out_features == 7
    assert build_network('torchvision:squeezenet1_1').classifier[1].out_channels == 1000


@pytest.mark.parametrize(
    'name, message',
    [
        ('resnet18', 'timm:NAME, torchvision:NAME or FILE.py:FUNCTION, got resnet18'),
        ('timm:', 'got timm:'),
        ('torchvision:resnet19', 'no network resnet19; similar names: .*resnet1'),
    ],
)
def test_no_such_network(name, message):
    with pytest.raises(ValueError, match=message):
        build_network(name)
