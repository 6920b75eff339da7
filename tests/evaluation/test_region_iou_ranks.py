"""RegionIoUMetric over several processes: each image counts once."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.dataset import DefaultSampler
from region_samples import evaluate, make_samples

from mmposenc.mm.metrics.region_iou import RegionIoUMetric


def test_images_seen_twice_are_an_error_and_missing_ones_a_warning(monkeypatch):
    printed = []
    monkeypatch.setattr('mmposenc.mm.metrics.region_iou.print_log', lambda text, **_: printed.append(text))
    samples = make_samples()
    with pytest.raises(ValueError, match='6 images were evaluated of a data set of 3'):
        evaluate(RegionIoUMetric(), samples * 2, size=3)
    with pytest.raises(ValueError, match='0 images were evaluated of a data set of 3'):
        evaluate(RegionIoUMetric(), [], size=3)
    evaluate(RegionIoUMetric(), samples, size=5)
    assert 'Only 3 of 5 images were evaluated.' in printed


CASES = [(number, round_up) for number in (1, 4, 5) for round_up in (True, False)]


def _rank(rank, world_size, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=world_size)
    for case, (number, round_up) in enumerate(CASES):
        samples = make_samples(number)
        mine = list(DefaultSampler(range(number), shuffle=False, round_up=round_up))
        figures = evaluate(RegionIoUMetric(), [samples[i] for i in mine], size=number)
        np.save(folder / f'{case}-{rank}.npy', [len(mine), *figures.values()])
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_give_the_figures_of_one(tmp_path):
    mp.spawn(_rank, (2, tmp_path), nprocs=2)
    for case, (number, round_up) in enumerate(CASES):
        expected = list(evaluate(RegionIoUMetric(), make_samples(number)).values())
        seen = 0
        for rank in range(2):
            count, *figures = np.load(tmp_path / f'{case}-{rank}.npy')
            assert figures == expected
            seen += count
        assert seen == (number + number % 2 if round_up else number)
