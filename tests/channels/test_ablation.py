"""Tests of mmposenc.channels.ablation."""

import pytest
import torch
from torch import nn

from mmposenc.channels.ablation import ablate_channels
from mmposenc.layers import pooled_features, record_pooled


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3)).eval()


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.randn(2, 3, 8, 8)


def num_hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def output_of(model, layer, images, seen=None):
    """What the module after the hooks gives; `seen` takes the tensor itself."""
    outputs = [] if seen is None else seen
    handle = model.get_submodule(layer).register_forward_hook(lambda module, args, output: outputs.append(output))
    model(images)
    handle.remove()
    return outputs[-1]


@pytest.mark.parametrize('value', [0.0, -2.5, torch.tensor(0.75)])
def test_chosen_channels_get_the_value_and_the_others_are_bit_equal(net, images, value):
    plain = output_of(net, '1', images)
    with ablate_channels(net, '1', [4, 0], value):
        changed = output_of(net, '1', images)
    assert (changed[:, [0, 4]] == float(value)).all()
    assert torch.equal(changed[:, [1, 2, 3, 5]], plain[:, [1, 2, 3, 5]])


def test_means_of_the_data_set_by_hand(net, images):
    means = torch.arange(6, dtype=torch.float64)
    with ablate_channels(net, '1', [4, 1], means):
        changed = output_of(net, '1', images)
        assert pooled_features(net, '1', images)[:, [1, 4]].tolist() == [[1.0, 4.0], [1.0, 4.0]]
    assert changed.dtype == torch.float32
    plain = output_of(net, '1', images)
    assert torch.equal(changed[:, [0, 2, 3, 5]], plain[:, [0, 2, 3, 5]])


def test_the_rest_of_the_network_sees_the_ablation(planted, lit_columns):
    # The head is linear in z: without channel 0 it loses exactly weight[:, 0] * x.
    images = lit_columns(1, 4)
    plain = planted(images)
    with ablate_channels(planted, 'neck', [0]) as ablation:
        changed = planted(images)
    lost = torch.tensor([0.25, 1.0], dtype=torch.float64)[:, None] * planted.head.weight[:, 0]
    torch.testing.assert_close(changed, plain - lost, rtol=0, atol=1e-15)
    assert ablation.calls == 1
    assert torch.equal(planted(images), plain)


@pytest.mark.parametrize('value', [0.0, torch.ones(6)])
def test_the_activation_itself_is_not_written_to(net, images, value):
    seen = []
    before = output_of(net, '0', images, seen).clone()
    handle = net[0].register_forward_hook(lambda module, args, output: seen.append(output))
    with ablate_channels(net, '0', range(6), value):
        net(images)
    handle.remove()
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
    with ablate_channels(net, '0', [0]), ablate_channels(net, '1', [1]), ablate_channels(net, '1', [2]):
        assert num_hooks(net) == 4
        assert pooled_features(net, '1', images)[:, [0, 1, 2]].abs().max() == 0
    assert num_hooks(net) == 1
    with ablate_channels(net, '1', [1]):
        with pytest.raises(RuntimeError, match='inside'), ablate_channels(net, '0', [1]):
            raise RuntimeError('inside')
        with pytest.raises(ValueError, match='does not exist'), ablate_channels(net, '7', [1]):
            pass
        assert num_hooks(net) == 2
    with pytest.raises(RuntimeError, match='expected input'), ablate_channels(net, '1', [1]):
        net(torch.zeros(1, 9, 8, 8))
    assert num_hooks(net) == 1
    assert torch.equal(net(images), plain)


def test_two_nested_blocks_are_one_of_both_lists(net, images):
    with ablate_channels(net, '1', [0, 3, 5]):
        together = net(images)
    with ablate_channels(net, '1', [5]), ablate_channels(net, '1', [0, 3]):
        assert torch.equal(net(images), together)


def test_no_channels_is_the_plain_network(net, images):
    plain = net(images)
    with ablate_channels(net, '1', []) as ablation:
        assert torch.equal(net(images), plain)
        assert (ablation.calls, ablation.layer, ablation.channels) == (1, '1', ())


def test_one_tensor_of_a_tuple(planted, lit_columns):
    images = lit_columns(0, 3)
    plain = planted.body(images)
    with ablate_channels(planted, 'body[-1]', [1, 4]):
        first, maps = planted.body(images)
    assert first is images
    assert maps[:, [1, 4]].abs().max() == 0
    assert torch.equal(maps[:, [0, 2, 3]], plain[1][:, [0, 2, 3]])
    with ablate_channels(planted, 'body', [0]), pytest.raises(ValueError, match=r"write 'body\[-1\]' for the last"):
        planted(images)


def test_recording_within_the_block_sees_the_ablation_and_before_it_does_not(planted, lit_columns):
    with record_pooled(planted, 'neck') as before, ablate_channels(planted, 'neck', [4]):
        with record_pooled(planted, 'neck') as after:
            planted(lit_columns(0))
        assert before.take()[0, 4] == 1
        assert after.take()[0, 4] == 0


def test_gradients_pass_through_the_other_channels_alone(net, images):
    features = []
    net[0].register_forward_hook(lambda module, args, output: (output.retain_grad(), features.append(output))[0])
    with ablate_channels(net, '1', [1, 2]):
        net(images).sum().backward()
    per_channel = features[0].grad.abs().sum((0, 2, 3))
    assert per_channel[[1, 2]].tolist() == [0.0, 0.0]
    assert (per_channel[[0, 3, 4, 5]] > 0).all()


def test_a_layer_that_did_not_run_shows_in_calls(planted, lit_columns):
    planted.spare = nn.ReLU()
    with ablate_channels(planted, 'spare', [0]) as ablation:
        planted(lit_columns(0))
    assert ablation.calls == 0


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(channels=[6]), r"layer '1' has 6 channels, so channels must be from 0 to 5, got 6: the ranking is of"),
        (dict(channels=[0], num_channels=2048), "layer '1' has 6 channels, but the channels were chosen among 2048"),
        (dict(channels=[], num_channels=5), 'the channels were chosen among 5'),
        (dict(channels=[0], value=torch.zeros(5)), 'value must hold one number for each of the 6 channels'),
    ],
)
def test_channels_of_another_model_are_an_error_when_the_layer_runs(net, images, arguments, message):
    with ablate_channels(net, '1', **arguments), pytest.raises(ValueError, match=message):
        net(images)
    assert num_hooks(net) == 0


def test_bad_arguments_leave_no_hook(net):
    for arguments, message in (
        (dict(channels=[0, 0]), 'must hold each channel once, but 0 is repeated'),
        (dict(channels=[-1]), 'must be 0 or more, got -1'),
        (dict(channels=[0], value=torch.zeros(6, 1)), r'value must be a number or a tensor \(C,\), got shape \(6, 1\)'),
    ):
        with pytest.raises(ValueError, match=message), ablate_channels(net, '1', **arguments):
            pass
    assert num_hooks(net) == 0
