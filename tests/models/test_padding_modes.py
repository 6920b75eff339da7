"""Paddings as mmcv convolution configs."""

import pytest

from mmposenc.mm.models.padding_modes import conv_cfg_with_padding


def test_the_default_is_an_ordinary_convolution():
    assert conv_cfg_with_padding('reflect') == {'type': 'Conv2d', 'padding_mode': 'reflect'}


def test_a_given_config_is_kept_and_not_changed():
    given = {'type': 'Conv2dAdaptivePadding'}
    assert conv_cfg_with_padding('circular', given) == {'type': 'Conv2dAdaptivePadding', 'padding_mode': 'circular'}
    assert given == {'type': 'Conv2dAdaptivePadding'}


def test_an_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="one of zeros, reflect, replicate, circular, got 'valid'"):
        conv_cfg_with_padding('valid')
