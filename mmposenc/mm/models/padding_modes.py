"""The paddings of Table 1, and circular, as mmcv convolution configs."""

PADDING_MODES = ('zeros', 'reflect', 'replicate', 'circular')


def conv_cfg_with_padding(padding_mode: str, conv_cfg: dict | None = None) -> dict:
    """Return the mmcv config of a convolution that pads in the given way (Table 1).

    Args:
        padding_mode: One of 'zeros', 'reflect', 'replicate' (the rows of Table 1) and 'circular' (ours).
        conv_cfg: The rest of the config. Default `dict(type='Conv2d')`.

    Raises:
        ValueError: If the padding mode is unknown.

    Example:
        >>> conv_cfg_with_padding('reflect')
        {'type': 'Conv2d', 'padding_mode': 'reflect'}
    """
    if padding_mode not in PADDING_MODES:
        raise ValueError(f'padding_mode must be one of {", ".join(PADDING_MODES)}, got {padding_mode!r}')
    return {**(conv_cfg or {'type': 'Conv2d'}), 'padding_mode': padding_mode}
