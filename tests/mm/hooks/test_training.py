"""Compiled backbone, deferred losses and autocast: the numbers stay those of mmengine's own parts."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from toy_training import toy_runner

from mmposenc.mm.hooks import AutocastOptimWrapper, CompileBackboneHook


def test_training_runs_one_graph_and_evaluation_none():
    graphs, fired = [], []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    model = nn.Module()
    model.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    runner, names, images = SimpleNamespace(model=model), list(model.state_dict()), torch.rand(2, 3, 8, 8)
    hook = CompileBackboneHook(options=dict(backend=backend), on_cpu=True)
    expected = model.backbone(images)
    hook.before_train(runner)
    torch.testing.assert_close(model.backbone(images), expected)
    assert len(graphs) == 1
    assert list(model.state_dict()) == names
    model.eval()
    model.backbone[0].register_forward_hook(lambda *_: fired.append(1))
    model.backbone(torch.rand(5, 3, 8, 8))
    assert (len(graphs), fired) == (1, [1])
    hook.after_train(runner)
    assert 'forward' not in vars(model.backbone)
    CompileBackboneHook().before_train(runner)  # a CPU stays eager unless asked
    assert 'forward' not in vars(model.backbone)


def trained(folder, hook, intervals):
    """The log, the history of a loss, and its history in the checkpoint of iteration 5."""
    logger, *others = (dict(type='LoggerHook', interval=interval) for interval in intervals)
    checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=5)
    hooks = dict(runtime_info=dict(type=hook), logger=logger, checkpoint=checkpoint)
    runner, _ = toy_runner(folder, dict(by_epoch=True, max_epochs=3), *others, default_hooks=hooks)
    runner.train()
    lines = next(Path(folder).rglob('vis_data/scalars.json')).read_text().splitlines()
    keep = ('epoch', 'step', 'lr', 'loss', 'loss_a', 'loss_b')
    saved = torch.load(Path(folder, 'iter_5.pth'), weights_only=False)['message_hub']['log_scalars']
    histories = [scalars['train/loss_b'].data[0].tolist() for scalars in (runner.message_hub.log_scalars, saved)]
    return [{k: v for k, v in json.loads(line).items() if k in keep} for line in lines], *histories


@pytest.mark.parametrize('intervals', [(1,), (2, 3), (100,)])
def test_log_history_and_checkpoint_are_mmengines(tmp_path, intervals):
    """Also of a checkpoint between two log intervals."""
    log, history, saved = expected = trained(tmp_path / 'host', 'RuntimeInfoHook', intervals)
    assert trained(tmp_path / 'deferred', 'mmposenc.DeferredRuntimeInfoHook', intervals) == expected
    assert (len(history), len(saved)) == (15, 5)
    assert intervals == (100,) or len(log) > 0


def test_autocast_runs_the_forward_in_bfloat16_and_parameters_stay_float32():
    model = nn.Linear(3, 2)
    wrapper = AutocastOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5))
    with wrapper.optim_context(model):
        out = model(torch.ones(4, 3))
    assert out.dtype == torch.bfloat16
    assert model(torch.ones(1, 3)).dtype == torch.float32
    before = model.bias.detach().clone()
    wrapper.update_params(out.float().mean())
    assert model.bias.dtype == torch.float32
    # d mean / d bias is 1/2 for each of the two outputs
    assert torch.allclose(before - model.bias, torch.full((2,), 0.25))
