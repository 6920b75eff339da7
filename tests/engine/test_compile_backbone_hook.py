import torch
from torch import nn

from mmposenc.mm.hooks.compile_backbone import CompileBackboneHook


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


class Runner:
    def __init__(self, model):
        self.model = model


def counting_backend(graphs):
    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    return backend


def test_training_runs_one_graph_and_evaluation_none():
    graphs, fired = [], []
    model = Model()
    hook = CompileBackboneHook(options=dict(backend=counting_backend(graphs)), on_cpu=True)
    images = torch.rand(2, 3, 8, 8)
    expected = model.backbone(images)
    hook.before_train(Runner(model))
    torch.testing.assert_close(model.backbone(images), expected)
    assert len(graphs) == 1
    model.eval()
    handle = model.backbone[0].register_forward_hook(lambda *_: fired.append(1))
    model.backbone(torch.rand(5, 3, 8, 8))
    assert len(graphs) == 1
    assert fired == [1]
    handle.remove()


def test_state_dict_is_unchanged_and_training_ends_eager():
    model = Model()
    names = list(model.state_dict())
    hook = CompileBackboneHook(options=dict(backend='eager'), on_cpu=True)
    hook.before_train(Runner(model))
    assert list(model.state_dict()) == names
    assert 'forward' in vars(model.backbone)
    hook.after_train(Runner(model))
    assert 'forward' not in vars(model.backbone)


def test_a_cpu_stays_eager_unless_asked():
    model = Model()
    hook = CompileBackboneHook()
    hook.before_train(Runner(model))
    assert 'forward' not in vars(model.backbone)
    hook.after_train(Runner(model))
