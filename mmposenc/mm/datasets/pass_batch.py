"""The collate function of data sets that make whole batches."""

from torch import Tensor

from mmposenc.registry import FUNCTIONS

__all__ = ['pass_batch']


@FUNCTIONS.register_module()
def pass_batch(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Passes a ready-made batch through the data loader (ours).

    A data set with `__getitems__` has gathered the batch already; there is nothing left to collate.

    Args:
        batch: What `__getitems__` returned.

    Raises:
        TypeError: If the data set gave a list of samples instead of one batch.

    Example:
        >>> dataloader = dict(num_workers=0, collate_fn=dict(type='mmposenc.pass_batch'))
    """
    if not isinstance(batch, dict):
        raise TypeError(
            f'pass_batch takes the dict that a data set with __getitems__ makes, got {type(batch).__name__}: '
            "this data set (or a wrapper around it) gives single samples; use collate_fn=dict(type='default_collate')"
        )
    return batch
