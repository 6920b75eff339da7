import json
from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

import mmposenc  # noqa: F401


class Numbers(Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, index):
        return {'x': torch.tensor(float(index))}


class Square(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x, mode='tensor'):
        x = torch.stack(list(x))
        return {'loss_a': (self.weight * x).mean(), 'loss_b': x.mean() ** 2 * self.weight**2}


def logged(folder, hook, interval):
    runner = Runner(
        model=Square(),
        work_dir=str(folder),
        train_dataloader=dict(
            batch_size=2, num_workers=0, dataset=Numbers(), sampler=dict(type='DefaultSampler', shuffle=True)
        ),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(runtime_info=dict(type=hook), logger=dict(type='LoggerHook', interval=interval)),
        randomness=dict(seed=0),
        experiment_name=f'{hook}{interval}',
        log_level='ERROR',
    )
    runner.train()
    lines = next(Path(folder).rglob('vis_data/scalars.json')).read_text().splitlines()
    keep = ('epoch', 'step', 'lr', 'loss', 'loss_a', 'loss_b')
    history = runner.message_hub.get_scalar('train/loss_b').data[0]
    return [{k: v for k, v in json.loads(line).items() if k in keep} for line in lines], history.tolist()


@pytest.mark.parametrize('interval', [1, 3, 100])
def test_log_and_history_are_the_hosts(tmp_path, interval):
    log, history = logged(tmp_path / 'host', 'RuntimeInfoHook', interval)
    deferred_log, deferred_history = logged(tmp_path / 'ours', 'mmposenc.DeferredRuntimeInfoHook', interval)
    assert len(history) == 12
    assert deferred_history == history
    assert deferred_log == log
    assert interval == 100 or len(log) > 0
