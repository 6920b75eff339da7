"""Tests of mmposenc.layers."""

from collections import namedtuple

import pytest
import torch
from torch import nn

from mmposenc.layers import (
    find_module,
    global_average_pool,
    pooled_features,
    pooled_forward,
    record_pooled,
    replace_output,
    select_output,
    split_layer,
)


def num_hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize(
    'layer, parts',
    [
        ('backbone', ('backbone', None)),
        ('a.b.0', ('a.b.0', None)),
        ('backbone[3]', ('backbone', 3)),
        ('b[-1]', ('b', -1)),
    ],
)
def test_split_layer(layer, parts):
    assert split_layer(layer) == parts


@pytest.mark.parametrize('layer', ['', 'a[', 'a[x]', 'a[0][1]', '[0]', 'a b'])
def test_split_layer_refuses_what_is_no_layer(layer):
    with pytest.raises(ValueError, match='must be a dotted module path'):
        split_layer(layer)
    with pytest.raises(TypeError, match='must be a str'):
        split_layer(3)


def test_find_module_finds_nested_module_and_passes_over_the_index(planted):
    assert find_module(planted, 'body.maps') is planted.body.maps
    assert find_module(planted, 'body[-1]') is planted.body


def test_find_module_names_the_deepest_part_and_its_children(planted):
    with pytest.raises(ValueError, match=r"'body.map' does not exist.*is 'body' \(PlantedBody\), whose .* are: maps$"):
        find_module(planted, 'body.map')
    with pytest.raises(ValueError, match=r'the model itself \(PlantedNet\), whose children are: body, neck, head$'):
        find_module(planted, 'backbone.layer4')
    with pytest.raises(ValueError, match=r"'body.maps' \(CoordinateMaps\), whose children are: \(none\)$"):
        find_module(planted, 'body.maps.x')
    with pytest.raises(ValueError, match=r'18, 19, and 5 more$'):
        find_module(nn.Sequential(*[nn.ReLU() for _ in range(25)]), '30')


def test_global_average_pool_by_hand():
    features = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert global_average_pool(features).tolist() == [[3.0, 1.0]]
    assert global_average_pool(torch.tensor([[3.0, 1.0]])).tolist() == [[3.0, 1.0]]


def test_global_average_pool_sums_half_precision_in_float32():
    features = torch.full((1, 1, 300, 300), 3.0, dtype=torch.float16)
    assert global_average_pool(features).dtype == torch.float32
    assert global_average_pool(features).item() == 3.0


def test_pooled_features_by_hand(planted, lit_columns):
    # x of the five columns is 0, 1/4, 1/2, 3/4, 1; y of the only row is 0.
    pooled = pooled_features(planted, 'body.maps', lit_columns(0, 3))
    assert pooled.tolist() == [[0.0, 1.0, 0.5, 0.0, 1.0], [0.75, 0.25, 0.25, 0.0, 1.0]]


def test_same_pooled_features_at_every_name_of_the_same_place(planted, lit_columns):
    images = lit_columns(0, 1, 4)
    expected = pooled_features(planted, 'body.maps', images)
    for layer in ('body[-1]', 'body[1]', 'neck'):
        assert torch.equal(pooled_features(planted, layer, images), expected)


def test_pooled_features_stop_at_the_layer_and_keep_no_gradient(planted, lit_columns):
    planted.head.register_forward_hook(lambda *args: pytest.fail('the forward went past the layer'))
    images = lit_columns(1).requires_grad_()
    assert not pooled_features(planted, 'neck', images).requires_grad


def test_pooled_features_go_through_the_forward_they_are_given(planted, lit_columns):
    pooled = pooled_features(planted, 'neck', lit_columns(0), forward=lambda images: planted(images.flip(-1)))
    assert pooled.tolist() == [[1.0, 0.0, 0.5, 0.0, 1.0]]


def test_pooled_forward_serves_several_batches_with_one_hook(planted, lit_columns):
    with pooled_forward(planted, 'neck') as pooled:
        assert num_hooks(planted) == 1
        assert pooled(lit_columns(0)).tolist() == [[0.0, 1.0, 0.5, 0.0, 1.0]]
        assert pooled(lit_columns(3, 4)).tolist() == [[0.75, 0.25, 0.25, 0.0, 1.0], [1.0, 0.0, 0.5, 0.0, 1.0]]
    assert num_hooks(planted) == 0
    with pytest.raises(AttributeError, match='shape'), pooled_forward(planted, 'neck') as pooled:
        pooled(None)
    assert num_hooks(planted) == 0


def test_record_pooled_leaves_the_output_alone_and_takes_each_call_once(planted, lit_columns):
    expected = planted(lit_columns(2))
    with record_pooled(planted, 'neck') as record:
        assert torch.equal(planted(lit_columns(2)), expected)
        assert record.take().tolist() == [[0.5, 0.5, 0.0, 0.0, 1.0]]
        with pytest.raises(ValueError, match="'neck' must run once per forward, but ran 0 times: name a layer"):
            record.take()
        planted(lit_columns(1))
        planted(lit_columns(2))
        with pytest.raises(ValueError, match='ran 2 times: use whole-image inference'):
            record.take()


def test_layer_that_does_not_run_is_an_error(planted, lit_columns):
    planted.spare = nn.ReLU()
    with pytest.raises(ValueError, match="'spare' must run once per forward, but ran 0 times"):
        pooled_features(planted, 'spare', lit_columns(0))


def test_no_hook_stays_behind(planted, lit_columns):
    planted.head.register_forward_hook(lambda *args: None)
    with record_pooled(planted, 'neck'), record_pooled(planted, 'neck'), record_pooled(planted, 'body[-1]'):
        assert num_hooks(planted) == 4
    assert num_hooks(planted) == 1
    pooled_features(planted, 'neck', lit_columns(0))
    with pytest.raises(ValueError, match='gives a tuple'):
        pooled_features(planted, 'body', lit_columns(0))
    with pytest.raises(RuntimeError, match='inside'), record_pooled(planted, 'neck'):
        raise RuntimeError('inside')
    assert num_hooks(planted) == 1


@pytest.mark.parametrize(
    'output, layer, message',
    [
        (
            (torch.zeros(1, 2), torch.zeros(1, 2)),
            'b',
            r"gives a tuple of 2.*write 'b\[-1\]' for the last or 'b\[i\]' with",
        ),
        ([torch.zeros(1, 2)] * 4, 'b', r'gives a list of 4.*i from 0 to 3'),
        ((torch.zeros(1, 2),), 'b[1]', r'the index must be from -1 to 0, got 1'),
        ((), 'b', 'gives a tuple of 0'),
        (torch.zeros(1, 2), 'b[0]', r"gives one Tensor, not a tuple: write 'b' for all of it, or 'b.0' for its child"),
        ({'out': torch.zeros(1, 2)}, 'b', 'must give a tensor or a tuple of tensors, got dict'),
        ((torch.zeros(1, 2), None), 'b[1]', 'must give a tensor or a tuple of tensors, got NoneType'),
        (torch.zeros(1, 5, 7), 'b', r'must give \(N, C, H, W\) or \(N, C\), got shape \(1, 5, 7\)'),
    ],
)
def test_outputs_that_cannot_be_pooled(output, layer, message):
    with pytest.raises(ValueError, match=message):
        select_output(output, layer)


def test_replace_output_keeps_the_kind_of_output_and_the_other_tensors():
    stages = namedtuple('stages', 'low high')
    low, high, new = torch.zeros(1, 2), torch.ones(1, 2), torch.full((1, 2), 7.0)
    assert replace_output(low, 'b', new) is new
    assert replace_output((low, high), 'b[-1]', new) == (low, new)
    assert replace_output((low,), 'b', new) == (new,)
    given = [low, high]
    replaced = replace_output(given, 'b[0]', new)
    assert isinstance(replaced, list)
    assert replaced[0] is new
    assert replaced[1] is high
    assert given[0] is low
    assert replace_output(stages(low, high), 'b[1]', new)._fields == ('low', 'high')
