"""Runs several commands one after the other, by 1, 2 and 4 processes, and keeps the figures that each process reports.

    python every_job.py JOBS.json 1 2 4

Importing OpenMMLab takes longer than any of the jobs, so it is done once: the processes are forks, with the environment
that torchrun gives. JOBS.json holds, by the name of a job, its arguments. Each number of processes has a
folder beside it, with what the commands write and with `figures-RANK.json`: by the name of the job, figures and counts.
"""

import json
import os
import sys
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size
from mmpretrain.models import ImageClassifier  # noqa: F401, imported for its time
from mmseg.models import EncoderDecoder  # noqa: F401
from started import free_port

from mmposenc.cli import call, common
from mmposenc.host import errors
from mmposenc.mm.metrics.region_iou import RegionIoUMetric

ROOT = Path(__file__).parents[2]


def run_jobs(jobs: dict[str, list[str]]) -> None:
    """Run the jobs here, in this process's part."""
    figures: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    compute_metrics = RegionIoUMetric.compute_metrics
    for job, arguments in jobs.items():

        def report(found: dict[str, Any], checkpoint: str | None, job: str = job) -> None:
            figures[job] = found

        def counted(self: RegionIoUMetric, results: list, job: str = job) -> dict[str, float]:
            counts[job] = [result.tolist() for result in results]
            return compute_metrics(self, results)

        common.report = report
        RegionIoUMetric.compute_metrics = counted
        forget_runs()
        call(arguments)
    found = {'processes': get_world_size(), 'figures': figures, 'counts': counts}
    Path(f'figures-{os.environ["RANK"]}.json').write_text(json.dumps(found))


def process(rank: int, processes: int, port: str, jobs: dict[str, list[str]]) -> None:
    os.chdir(str(processes))
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    if processes > 1:
        os.environ['TORCHELASTIC_RUN_ID'] = 'none'  # This tells the commands that torchrun started them.
    errors.run(lambda: run_jobs(jobs))


def main(path: Path, numbers: list[int]) -> None:
    jobs, fork = json.loads(path.read_text()), get_context('fork')
    os.chdir(path.parent)
    for number in numbers:
        Path(str(number)).mkdir()
        port = free_port()
        started = [fork.Process(target=process, args=(rank, number, port, jobs)) for rank in range(number)]
        for one in started:
            one.start()
        for one in started:
            one.join()
        if any(one.exitcode for one in started):
            raise SystemExit(f'{[one.exitcode for one in started]} of {number} processes')


if __name__ == '__main__':
    sys.path.insert(0, str(ROOT / 'tests'))
    from conftest import forget_runs

    main(Path(sys.argv[1]).resolve(), [int(number) for number in sys.argv[2:]])
