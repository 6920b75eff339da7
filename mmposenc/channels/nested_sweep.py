"""Forwards of a network with one slice after the other of its channels off (Sec. 4.2.2)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn

from mmposenc.channels.ablation import ablate_channels

Output = TypeVar('Output')


def nested_sweep(
    model: nn.Module,
    layer: str,
    order: Sequence[int],
    slices: Sequence[tuple[int, int]],
    forward: Callable[[], Output],
) -> Iterator[Output]:
    """Give the outputs with each slice of a channel order switched off, one forward each (Sec. 4.2.2, Fig. 4).

    Inside `replayed(model.backbone)` the forwards share the backbone.

    Args:
        model: Any network.
        layer: Dotted module path, with [i] behind it where the module gives a tuple.
        order: All channels of the layer, best first.
        slices: (start, stop) of the ranks to switch off, stop excluded; (0, N) are the N best.
        forward: Runs the network on one and the same input, and returns what is wanted of it.

    Raises:
        ValueError: If the layer has another number of channels, or the forward does not pass through it.

    Example:
        >>> with replayed(model.backbone):
        ...     outputs = list(nested_sweep(model, 'neck', ranking.order, [(0, 100), (0, 200)], lambda: model(images)))
    """
    for start, stop in slices:
        with ablate_channels(model, layer, order[start:stop], num_channels=len(order)) as done:
            output = forward()
        if not done.calls:
            raise ValueError(f'the forward does not pass through layer {layer!r}, so its channels cannot be swept')
        yield output


@contextmanager
def replayed(module: nn.Module) -> Iterator[None]:
    """Let a module run once while the block runs: later calls give its first output again (ours).

    Each call gets a copy, which what follows may write to. Hooks on the module itself act on every copy, those on its
    children only when it runs. Only for forwards of one and the same input.

    Example:
        >>> with replayed(model.backbone):
        ...     first, second = model(images), model(images)
    """
    replaced = module.__dict__.get('forward')
    run = module.forward
    outputs: list[Any] = []

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not outputs:
            outputs.append(run(*args, **kwargs))
        return _copied(outputs[0])

    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if replaced is not None:
            module.forward = replaced


def _copied(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.clone()
    if isinstance(output, (tuple, list)):
        items = [_copied(item) for item in output]
        return type(output)(*items) if hasattr(output, '_fields') else type(output)(items)
    if isinstance(output, dict):
        return type(output)((key, _copied(item)) for key, item in output.items())
    return output
