"""The forwards that a sweep makes with channels switched off by a hook."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

from mmposenc.channels.nested_sweep import nested_sweep, replayed
from mmposenc.channels.sweep import SweepGroup, SweepPlan
from mmposenc.mm.sweep.levels import SweepLevel

Output = TypeVar('Output')


def run_forwards(
    model: Any,
    plan: SweepPlan,
    levels: Mapping[str, SweepLevel],
    forward: Callable[[], Output],
    take: Callable[[int, Output], None],
    baseline: Callable[[], Output] | None = None,
) -> None:
    """Run 0, the network with no channel off, then every run at the layers of level 1 and 2 (Sec. 4.2.2).

    Args:
        model: The network, without wrappers.
        plan: What is swept.
        levels: By layer; those of level 3 are passed over.
        forward: Runs the network on one and the same batch.
        take: Gets the number of each run and what the forward gave.
        baseline: Stands in for `forward` in run 0, to record more of it.
    """

    def groups(level: int) -> list[SweepGroup]:
        return plan.groups_at([layer for layer, chosen in levels.items() if chosen.level == level])

    def sweep(group: SweepGroup) -> None:
        outputs = nested_sweep(model, group.layer, group.order, group.slices, forward)
        for run, output in zip(group.runs, outputs, strict=True):
            take(run, output)

    shared = groups(2)
    with replayed(model.backbone) if shared else nullcontext():
        take(0, (baseline or forward)())
        for group in shared:
            sweep(group)
    for group in groups(1):
        sweep(group)
