"""What a sweep's counts depend on, as it is written beside them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmposenc.channels.sweep import SweepPlan
from mmposenc.layers import unwrap_model as inner_model
from mmposenc.mm.loops.rank import describe_data
from mmposenc.mm.sweep.levels import SweepLevel
from mmposenc.ranking import Ranking, file_sha256, model_fingerprint
from mmposenc.version import __version__


def load_rankings(rankings: Sequence[str] | Mapping[str, str]) -> dict[str, Ranking]:
    """Rankings by name: the key of a dict, or the name of the file without its suffix (ours).

    Raises:
        TypeError, ValueError: If they are no list or dict, or two files have one name.
    """
    if isinstance(rankings, str):
        raise TypeError(f'rankings must be a list of files, got the str {rankings!r}: write [{rankings!r}]')
    named = dict(rankings) if isinstance(rankings, Mapping) else {Path(path).stem: path for path in rankings}
    if len(named) < len(rankings):
        raise ValueError(f'rankings are called by the names of their files, which must differ, got {list(rankings)}')
    if odd := [name for name in named if not isinstance(name, str) or not name.isprintable()]:
        raise ValueError(f'the name of a ranking must be text of one line, got {odd[0]!r}: rename the file')
    return {name: Ranking.load(path) for name, path in named.items()}


def sweep_conditions(
    runner: Runner, plan: SweepPlan, levels: Mapping[str, SweepLevel], loader: DataLoader
) -> dict[str, Any]:
    """Everything but the task's own conditions (ours).

    Memory budget, number of processes and where the files lie are no conditions: a sweep may go on with others.
    """
    checkpoint = runner._load_from
    return dict(
        versions=dict(mmposenc=__version__, torch=str(torch.__version__)),
        model=runner.model_name,
        model_sha256=model_fingerprint(inner_model(runner.model)),
        checkpoint_sha256=file_sha256(checkpoint) if checkpoint and Path(checkpoint).is_file() else '',
        data_set=describe_data(loader.dataset),
        num_images=len(loader.dataset),  # type: ignore[arg-type]
        batch_size=loader.batch_size or 1,
        levels={layer: chosen.level for layer, chosen in levels.items()},
        rankings={name: _described(ranking) for name, ranking in plan.rankings.items()},
        num_channels=plan.num_channels,
        window=plan.window,
        num_random=plan.num_random,
        variant_fields=['layer', 'ranking', 'draw', 'kind', 'start', 'stop', 'run'],
        variants=[[v.layer, v.ranking, v.draw, v.kind, v.start, v.stop, v.run] for v in plan.variants],
    )


def _described(ranking: Ranking) -> dict[str, Any]:
    return dict(
        layer=ranking.layer,
        statistic=ranking.statistic,
        pair=ranking.pair,
        region=ranking.region,
        num_images=ranking.num_images,
        order_sha256=hashlib.sha256(','.join(map(str, ranking.order)).encode()).hexdigest(),
    )
