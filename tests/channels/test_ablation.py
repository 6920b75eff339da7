"""Ablation changes the chosen channels and nothing else; top, window and random channels by hand."""

from threading import Barrier

import numpy as np
import pytest
import timm
import torch
from planted import Replicas, lit_columns, some_ranking
from torch import nn

from mmposenc.channels import ablate_channels, matched_random_channels, random_channels, top_channels, window
from mmposenc.channels.ablation import check_channels
from mmposenc.layers import pooled_features


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3)).eval()


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.randn(2, 3, 8, 8)


def num_hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def output_of(model, layer, images):
    """What the module after the hooks gives."""
    outputs = []
    with model.get_submodule(layer).register_forward_hook(lambda module, args, output: outputs.append(output)):
        model(images)
    return outputs[-1]


@pytest.mark.parametrize('value', [0.0, -2.5, torch.tensor(0.75), torch.arange(6.0).double(), (3.0,) * 6])
def test_chosen_channels_get_the_value_and_the_others_are_bit_equal(net, images, value):
    plain = output_of(net, '1', images)
    with ablate_channels(net, '1', [4, 0], value):
        changed = output_of(net, '1', images)
    expected = torch.as_tensor(value, dtype=torch.float32).expand(6)[[0, 4]]
    assert torch.equal(changed[:, [0, 4]], expected.view(1, 2, 1, 1).expand(2, 2, 8, 8))
    assert torch.equal(changed[:, [1, 2, 3, 5]], plain[:, [1, 2, 3, 5]])


def test_the_rest_of_the_network_sees_the_ablation(planted):
    # The head is linear in z: without channel 0 it loses exactly weight[:, 0] * x.
    images = lit_columns(1, 4)
    plain = planted(images)
    with ablate_channels(planted, 'neck', [0]):
        changed = planted(images)
    lost = torch.tensor([0.25, 1.0], dtype=torch.float64)[:, None] * planted.head.weight[:, 0]
    torch.testing.assert_close(changed, plain - lost, rtol=0, atol=1e-15)
    assert torch.equal(planted(images), plain)


@pytest.mark.parametrize('value', [0.0, torch.ones(6)])
def test_the_activation_itself_is_not_written_to(net, images, value):
    before = output_of(net, '0', images).clone()
    seen = []  # By a hook that comes before the ablation's.
    net[0].register_forward_hook(lambda module, args, output: seen.append(output))
    with ablate_channels(net, '0', range(6), value):
        net(images)
    assert torch.equal(seen[-1], before)
    assert seen[-1].abs().min() > 0


def test_memory_format_and_type_are_kept(net, images):
    net.to(memory_format=torch.channels_last).bfloat16()
    for value in (0.0, torch.ones(6)):
        with ablate_channels(net, '1', [2], value):
            changed = output_of(net, '1', images.bfloat16().to(memory_format=torch.channels_last))
        assert changed.dtype == torch.bfloat16
        assert changed.is_contiguous(memory_format=torch.channels_last)


def test_nothing_stays_behind_nested_and_after_exceptions(net, images):
    net[1].register_forward_hook(lambda *args: None)
    plain = net(images)
    with ablate_channels(net, '1', []):
        assert torch.equal(net(images), plain)
    with ablate_channels(net, '0', [0]), ablate_channels(net, '1', [1]), ablate_channels(net, '1', [2]):
        assert pooled_features(net, '1', images)[:, [0, 1, 2]].abs().max() == 0
    assert num_hooks(net) == 1
    with pytest.raises(RuntimeError, match='inside'), ablate_channels(net, '0', [1]):
        raise RuntimeError('inside')
    with pytest.raises(ValueError, match='does not exist'), ablate_channels(net, '7', [1]):
        pass
    with pytest.raises(RuntimeError, match='expected input'), ablate_channels(net, '1', [1]):
        net(torch.zeros(1, 9, 8, 8))
    assert num_hooks(net) == 1
    assert torch.equal(net(images), plain)


def test_one_tensor_of_a_tuple(planted):
    images = lit_columns(0, 3)
    plain = planted.body(images)
    with ablate_channels(planted, 'body[-1]', [1, 4], channel_dim=1):
        first, maps = planted.body(images)
    assert first is images
    assert maps[:, [1, 4]].abs().max() == 0
    assert torch.equal(maps[:, [0, 2, 3]], plain[1][:, [0, 2, 3]])
    with pytest.raises(ValueError, match=r"write 'body\[-1\]' for the last"), ablate_channels(planted, 'body', [0]):
        planted(images)
    with pytest.raises(ValueError, match='pass channel_dim='), ablate_channels(planted, 'body[-1]', [0]):
        planted(images)


def test_gradients_pass_through_the_other_channels_alone(net, images):
    features = []
    net[0].register_forward_hook(lambda module, args, output: (output.retain_grad(), features.append(output))[0])
    with ablate_channels(net, '1', [1, 2]):
        net(images).sum().backward()
    per_channel = features[0].grad.abs().sum((0, 2, 3))
    assert per_channel[[1, 2]].tolist() == [0.0, 0.0]
    assert (per_channel[[0, 3, 4, 5]] > 0).all()


def test_tokens_lose_the_channel_everywhere_class_token_included():
    vit = timm.create_model('vit_small_patch14_reg4_dinov2', img_size=28, depth=1).eval()
    for value in (0.0, torch.arange(384.0)):
        with ablate_channels(vit, 'blocks.0', [3, 7], value), torch.no_grad():
            tokens = output_of(vit, 'blocks.0', torch.rand(1, 3, 28, 28))
        expected = torch.zeros(2) if isinstance(value, float) else torch.tensor([3.0, 7.0])
        assert torch.equal(tokens[..., [3, 7]], expected.expand(1, 9, 2))
        assert (tokens[..., [2, 4]] != expected).all()


def test_a_layer_that_does_not_run_exactly_once_is_an_error(images):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    model[1] = model[0]
    model[0].spare = nn.ReLU()
    for layer, times in (('0', 2), ('0.spare', 0)):
        with (
            pytest.raises(ValueError, match=f'{layer!r} must run once per forward, but ran {times} times'),
            ablate_channels(model, layer, [0]),
        ):
            model(images)
        assert num_hooks(model) == 0
    with ablate_channels(model, '1', [0], allow_repeats=True):
        assert model(images)[:, 0].abs().max() == 0
    with pytest.raises(ValueError, match="'0' did not run, so nothing was ablated"), ablate_channels(model, '0', [0]):
        model[0].spare(images)


def test_copies_on_several_devices_run_the_layer_once_each(net, images):
    meet = Barrier(2, timeout=60)
    handle = net[1].register_forward_hook(lambda *args: (meet.wait(), None)[1])  # both are in the middle of a forward
    with ablate_channels(net, '1', [0, 3]):
        together = Replicas(net)(images)
    handle.remove()
    with ablate_channels(net, '1', [0, 3]):
        assert torch.equal(together, torch.cat([net(images[:1]), net(images[1:])]))


@pytest.mark.parametrize('part', ['model', 'layer'])
def test_a_compiled_model_that_has_run_is_ablated(net, images, part):
    with ablate_channels(net, '1', range(6)), torch.no_grad():
        expected = net(images)
    model = torch.compile(net, backend='eager') if part == 'model' else net
    if part == 'layer':
        net[1].compile(backend='eager')
    with torch.no_grad():
        plain = model(images)
        with ablate_channels(model, '1', range(6)):
            assert torch.equal(model(images), expected)
        assert torch.equal(model(images), plain)
    assert not torch.equal(plain, expected)


@pytest.mark.parametrize('arguments, message', [
    (dict(channels=[6]), r"layer '1' has 6 channels, so channels must be from 0 to 5, got 6: the ranking is of"),
    (dict(channels=[0], num_channels=2048), "layer '1' has 6 channels, but the channels were chosen among 2048"),
    (dict(channels=[], num_channels=5), 'the channels were chosen among 5'),
    (dict(channels=[0], value=torch.zeros(5)), r"value must be a number, or 6 of them, .* of '1'; got shape \(5,\)"),
    (dict(channels=[0], value=torch.zeros(6, 1)), r'value must be a number, or 6 of them, .* got shape \(6, 1\)'),
    (dict(channels=[0, 0]), 'must hold each channel once, but 0 is repeated'),
    (dict(channels=[-1]), 'must be 0 or more, got -1'),
])  # fmt: skip
def test_channels_of_another_model_and_bad_arguments(net, images, arguments, message):
    with pytest.raises(ValueError, match=message), ablate_channels(net, '1', **arguments):
        net(images)
    assert num_hooks(net) == 0


RANKING = some_ranking([0.1, 0.5, 0.3, 0.4])


def test_top_and_window_by_hand():
    assert [top_channels(RANKING, n) for n in range(5)] == [(), (1,), (1, 3), (1, 3, 2), (1, 3, 2, 0)]
    assert window(RANKING, np.int32(1), np.uint8(2)) == (3, 2)
    assert window(RANKING, 4, 0) == ()


def test_random_channels_are_nested_seeded_and_even():
    state = torch.get_rng_state()
    draws = [random_channels(10, 4, seed) for seed in range(500)]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(len(set(draw)) == 4 for draw in draws)
    assert draws == [random_channels(10, 10, seed)[:4] for seed in range(500)]
    # Each of 10 channels is in a draw of 4 with probability 0.4: 200 of 500, standard deviation 11.
    counts = torch.tensor(draws).flatten().bincount(minlength=10)
    assert counts.min() > 150
    assert counts.max() < 250


def test_matched_draws_hold_as_many_channels_of_each_bin_as_the_ranking():
    torch.manual_seed(0)
    activation = torch.rand(40)
    ranking = some_ranking(torch.rand(40))
    bin_of = {int(channel): rank // 4 for rank, channel in enumerate(activation.argsort())}
    draws = [matched_random_channels(ranking, activation.tolist(), 40, seed) for seed in range(30)]
    for draw in draws:
        assert sorted(draw) == list(range(40))
        assert [bin_of[channel] for channel in draw] == [bin_of[channel] for channel in ranking.order]
    assert draws[3][:9] == matched_random_channels(ranking, activation.tolist(), 9, 3)
    assert len({draw[0] for draw in draws}) == 4  # the four channels of the first one's bin
    with pytest.raises(ValueError, match='activation must hold one number for each of the 40 channels, got 3'):
        matched_random_channels(ranking, [1, 2, 3], 9, 3)


@pytest.mark.parametrize('call, message', [
    (lambda: top_channels(RANKING, 5), 'num_channels must be from 0 to 4, the channels there are, got 5'),
    (lambda: top_channels(RANKING, -1), r'num_channels must be from 0 to 4, .* got -1'),
    (lambda: top_channels(RANKING, 2.0), 'num_channels must be an integer, got 2.0'),
    (lambda: window(RANKING, 5, 1), r'start must be from 0 to 4, .* got 5'),
    (lambda: window(RANKING, 3, 2), r'size must be from 0 to 1, .* got 2'),
    (lambda: random_channels(4, 5, seed=0), 'num_channels must be from 0 to 4'),
])  # fmt: skip
def test_more_channels_than_there_are(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_check_channels():
    assert check_channels(torch.tensor([3, 1])) == check_channels(np.array([3, 1])) == (3, 1)
    for bad in ([1.5], ['1'], 3):
        with pytest.raises(TypeError, match='channels must be a list of integers, got'):
            check_channels(bad)
