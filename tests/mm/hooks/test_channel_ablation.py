"""ChannelAblationHook against ablation by hand, under wrappers and compilation, and after exceptions."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from planted import some_ranking
from planted_segmenter import HEADS, LogitsMetric, lit_columns, make_runner, make_segmenter, number_of_hooks
from torch import Tensor, nn

from mmposenc.channels import ablate_channels, random_channels
from mmposenc.layers import unwrap_model
from mmposenc.mm.hooks import ChannelAblationHook
from mmposenc.ranking import model_fingerprint

COLUMNS = (0, 1, 3)


def logits(model: nn.Module, folder: Path, hooks: list[dict], **options) -> Tensor:
    """The logits of an ordinary test with hooks of this kind in the config."""
    hooks = [dict(type='mmposenc.ChannelAblationHook', **hook) for hook in hooks]
    metric = LogitsMetric()
    dataset = lit_columns(folder, *COLUMNS, width=8)
    make_runner(model, dataset, folder, test_evaluator=[metric], custom_hooks=hooks, **options).test()
    return torch.stack(metric.logits)


def by_hand(model: nn.Module, layer: str, channels: list[int], value: float | Tensor = 0.0) -> Tensor:
    images = torch.zeros(3, 3, 5, 8)
    for image, column in zip(images, COLUMNS, strict=True):
        image[..., column] = 250
    with torch.no_grad(), ablate_channels(model, layer, channels, value):
        return torch.cat([model(batch, mode='tensor') for batch in images.split(2)])  # the runner's batches


def ranking(folder: Path, scores: Sequence[float] = (5, 9, 1, 7, 3), **entries) -> str:
    some_ranking(scores, **{'layer': 'backbone[-1]', **entries}).save(folder / 'ranking.json')
    return str(folder / 'ranking.json')


@pytest.mark.parametrize('head', HEADS)
def test_equals_the_ablation_by_hand_under_any_head(tmp_path: Path, head: str) -> None:
    model = make_segmenter(head)
    off = logits(model, tmp_path, [dict(layer='backbone[-1]', channels=[1, 3])])
    assert torch.equal(off, by_hand(model, 'backbone[-1]', [1, 3]))
    whole = by_hand(model, 'backbone[-1]', [])
    assert not torch.allclose(off, whole)
    assert torch.equal(logits(model, tmp_path, []), whole)  # nothing stayed behind
    assert number_of_hooks(model) == 0


RANDOM = list(random_channels(5, 2, 7))


@pytest.mark.parametrize('choice, channels, text', [
    (dict(ranking=True, num_channels=2), [1, 3], 'the top of FILE'),
    (dict(ranking=True, num_channels=0), [], 'the top of FILE'),
    (dict(ranking=True, window=(1, 3)), [3, 0, 4], 'ranks 1 to 3 of FILE'),
    (dict(ranking=True, num_channels=2, layer='decode_head.image_pool.0'), [1, 3], 'the top of FILE'),
    (dict(random=(2, 7), layer='backbone[-1]'), RANDOM, 'at random, seed 7'),
])  # fmt: skip
def test_what_is_ablated(tmp_path: Path, capsys, choice: dict, channels: list[int], text: str) -> None:
    model, layer = make_segmenter('aspp'), choice.get('layer', 'backbone[-1]')
    file = {'ranking': ranking(tmp_path)} if 'ranking' in choice else {}
    assert torch.equal(logits(model, tmp_path, [{**choice, **file}]), by_hand(model, layer, channels))
    said = f'ablated {len(channels)} of 5 channels of {layer}, {text} (each gives 0): {str(channels)[1:-1] or "none"}'
    assert said.replace('FILE', f'{tmp_path}/ranking.json') in capsys.readouterr().out


def test_channels_give_their_means(tmp_path: Path) -> None:
    model = make_segmenter()
    means = ranking(tmp_path, statistic='mean_activation', scores=[1, 2, 3, 4, 5])
    off = logits(model, tmp_path, [dict(layer='backbone[-1]', channels=[0, 2], value='mean', means=means)])
    assert torch.equal(off, by_hand(model, 'backbone[-1]', [0, 2], torch.tensor([1.0, 2, 3, 4, 5])))
    with pytest.raises(ValueError, match=r"means must be a ranking by 'mean_activation', .* is one by 'abs'"):
        logits(model, tmp_path, [dict(layer='neck', channels=[0], value='mean', means=ranking(tmp_path))])


def test_two_layers_at_once(tmp_path: Path) -> None:
    model = make_segmenter('aspp')
    first, second = dict(layer='backbone[-1]', channels=[0]), dict(layer='decode_head.image_pool.0', channels=[4])
    off = logits(model, tmp_path, [first, second])
    with ablate_channels(model, 'decode_head.image_pool.0', [4]):
        assert torch.equal(off, by_hand(model, 'backbone[-1]', [0]))


@pytest.mark.parametrize('where', ['model', 'metric'])
def test_no_hook_stays_after_an_exception(tmp_path: Path, where: str) -> None:
    model, metric, calls = make_segmenter(), LogitsMetric(), []

    def broken(*args, **kwargs) -> None:
        calls.append(number_of_hooks(model))
        raise RuntimeError('broken')

    if where == 'model':
        model.decode_head.predict = broken
    else:
        metric.compute_metrics = broken
    hook, dataset = dict(type='mmposenc.ChannelAblationHook', channels=[0]), lit_columns(tmp_path, *COLUMNS)
    hooks = [{**hook, 'layer': layer} for layer in ('backbone[-1]', 'decode_head.convs.0')]
    runner = make_runner(model, dataset, tmp_path, test_evaluator=[metric], custom_hooks=hooks)
    for _ in range(2):  # the second run finds the loop guarded
        with pytest.raises(RuntimeError, match='broken'):
            runner.test()
        assert number_of_hooks(model) == 0
    assert min(calls) > 0


def test_only_validations_of_a_training_are_ablated(tmp_path: Path) -> None:
    model = make_segmenter()
    seen: dict[bool, list[Tensor]] = {True: [], False: []}
    model.decode_head.convs.register_forward_pre_hook(lambda _, args: seen[model.training].append(args[0].detach()))
    model.data_preprocessor.size = (5, 5)
    dataset = lit_columns(tmp_path, *COLUMNS)
    loader = dict(batch_size=3, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False))
    hook = dict(ranking=ranking(tmp_path, model_sha256='ab' * 32), num_channels=1, allow_other_weights=True)
    train = dict(train_cfg=dict(by_epoch=True, max_epochs=2), optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)))
    stages = dict(train_dataloader=loader, val_dataloader=loader, val_cfg=dict(), val_evaluator=[LogitsMetric()])
    stages.update(dict.fromkeys(['test_dataloader', 'test_cfg', 'test_evaluator']))
    hooks = dict(custom_hooks=[dict(type='mmposenc.ChannelAblationHook', **hook)], default_hooks=dict(checkpoint=None))
    make_runner(model, dataset, tmp_path, **train, **stages, **hooks).train()
    trained, validated = (torch.stack(seen[mode])[:, :, :2].abs().amax((1, 3, 4)) for mode in (True, False))
    assert trained.shape == validated.shape == (2, 2)
    assert trained[:, 1].min() > 1
    assert validated[:, 0].min() > 1
    assert validated[:, 1].max() == 0


@pytest.mark.parametrize('hook, message', [
    (dict(layer='decode_head.pool'), r"'decode_head.pool' does not exist: .* 'decode_head' \(FCNHead\)"),
    (dict(layer='backbone'), r'gives a tuple of 2, one tensor is needed'),
    (dict(layer='backbone[-1]', channels=[5]), r'has 5 channels, so channels must be from 0 to 4, got 5'),
    # mmseg calls a head's methods and never the head itself.
    (dict(layer='decode_head'), r"layer 'decode_head' must run once per forward, but ran 0 times"),
    (dict(layer='backbone[-1]', channels=None, random=(6, 0)), r'num_channels must be from 0 to 5, .*, got 6'),
])  # fmt: skip
def test_layers_that_are_refused(tmp_path: Path, hook: dict, message: str) -> None:
    model = make_segmenter()
    with pytest.raises(ValueError, match=message):
        logits(model, tmp_path, [{'channels': [0], **hook}])
    assert number_of_hooks(model) == 0


def test_rankings_that_are_refused(tmp_path: Path) -> None:
    model = make_segmenter()
    for entries, message in (
        (dict(scores=[1, 2, 3]), 'has 5 channels, but the channels were chosen among 3: the ranking is of an'),
        (dict(model_sha256='ab' * 32), 'the ranking was made from other weights'),
    ):
        with pytest.raises(ValueError, match=message):
            logits(model, tmp_path, [dict(ranking=ranking(tmp_path, **entries), num_channels=1)])
    means = dict(value='mean', means=ranking(tmp_path, statistic='mean_activation', model_sha256='ab' * 32))
    with pytest.raises(ValueError, match='the ranking was made from other weights'):
        logits(model, tmp_path, [dict(layer='backbone[-1]', channels=[0], **means)])
    logits(model, tmp_path, [dict(ranking=ranking(tmp_path, model_sha256=model_fingerprint(model)), num_channels=1)])


def test_sliding_windows_are_refused_unless_asked_for(tmp_path: Path) -> None:
    model = make_segmenter(test_cfg=dict(mode='slide', crop_size=(5, 5), stride=(3, 3)))
    with pytest.raises(ValueError, match=r"needs whole-image inference, but model.test_cfg.mode is 'slide'"):
        logits(model, tmp_path, [dict(layer='backbone[-1]', channels=[0])])
    whole = model.backbone.forward

    def windows_only(images: Tensor) -> object:
        if images.shape[-1] != 5:
            raise RuntimeError('the size of tensor a must match the size of tensor b')
        return whole(images)

    model.backbone.forward = windows_only  # as that of BEiT
    hook = dict(layer='backbone[-1]', random=(2, 7), allow_slide=True, channel_dim=1)
    off = logits(model, tmp_path, [hook])
    with ablate_channels(model, 'backbone[-1]', RANDOM, channel_dim=1, allow_repeats=True):
        assert torch.equal(off, logits(model, tmp_path, []))
    assert not torch.allclose(off, logits(model, tmp_path, []))


MIXUP = dict(augments=dict(type='Mixup', alpha=0.2))  # which lets the preprocessor write one-hot labels into samples
FLIPS = [[dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)], [dict(type='PackInputs')]]
VIEWS = [dict(type='LoadImageFromFile'), dict(type='TestTimeAug', transforms=FLIPS)]


@pytest.mark.parametrize('kind', ['mixup', 'views', 'views in batches'])
def test_classifiers_whose_batches_are_unlike_others(kind: str, classifier_config: Path, tmp_path: Path) -> None:
    cfg = Config.fromfile(classifier_config)
    cfg.work_dir, cfg.test_evaluator = str(tmp_path / 'work'), dict(type='LogitsMetric')
    if kind == 'mixup':
        cfg.model.train_cfg = MIXUP
    else:
        preprocessor = dict(type='ClsDataPreprocessor', **cfg.pop('data_preprocessor'))
        cfg.model = dict(type='AverageClsScoreTTA', module=dict(**cfg.model, data_preprocessor=preprocessor))
        cfg.test_dataloader.dataset.pipeline = VIEWS
    if kind == 'views in batches':
        cfg.test_dataloader.collate_fn = dict(type='default_collate')

    def scores(hooks: list[dict], channels: Sequence[int] = ()) -> Tensor:
        runner = Runner.from_cfg(Config({**cfg, 'custom_hooks': hooks, 'experiment_name': f'{kind}{len(hooks)}'}))
        with ablate_channels(unwrap_model(runner.model), 'backbone[-1]', channels, allow_repeats=True):
            runner.test()
        return torch.stack(runner.test_evaluator.metrics[0].logits)

    off = scores([dict(type='mmposenc.ChannelAblationHook', layer='backbone[-1]', random=(8, 0))])
    assert torch.equal(off, scores([], random_channels(32, 8, 0)))
    assert not torch.allclose(off, scores([]))


@pytest.mark.parametrize('options, message', [
    (dict(), r'give one of: channels; .* Got none of them$'),
    (dict(channels=[1], random=(1, 0)), r'Got channels and random$'),
    (dict(num_channels=1), r'Got num_channels$'),
    (dict(channels=[1], ranking=True), r'Got channels and ranking$'),
    (dict(ranking=True, num_channels=1, window=(0, 1)), r'Got num_channels and window and ranking$'),
    (dict(ranking=True, num_channels=6), r'num_channels must be from 0 to 5, the channels there are, got 6'),
    (dict(ranking=True, window=(3, 3)), r'size must be from 0 to 2, the channels there are, got 3'),
    (dict(ranking=True, window=[1]), r'window must be two integers, got \[1\]'),
    (dict(random=(0.5, 1)), r'random must be two integers, got \(0.5, 1\)'),
    (dict(channels=[2, 1, 2]), r'channels must hold each channel once, but 2 is repeated'),
    (dict(channels=[1], layer=None), r"layer must be given where no ranking names it, e.g. layer='backbone\[-1\]'"),
    (dict(channels=[1], layer='a[b]'), r"layer must be a dotted module path.* got 'a\[b\]'"),
    (dict(ranking='absent.json', num_channels=1), r'there is no ranking file at absent.json: make one with mmposenc'),
    (dict(channels=[1], value='median'), r"value must be a number, or 'mean' with means=FILE; got"),
    (dict(channels=[1], value='mean'), r"value must be a number, or 'mean' with means=FILE; got"),
    (dict(channels=[1], means='means.json'), r"value must be a number, or 'mean' with means=FILE; got"),
])  # fmt: skip
def test_arguments_that_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    if options.get('ranking') is True:
        options = {**options, 'ranking': ranking(tmp_path)}
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=message):
        ChannelAblationHook(**{'layer': 'pool', **options})
