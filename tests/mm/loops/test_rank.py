"""ChannelRankingLoop on networks whose ranking is known by hand, against plain PyTorch, and with a user's mistakes."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from planted_segmenter import HEADS, lit_columns, make_runner, make_segmenter, number_of_hooks
from torch import nn

from mmposenc.channels import rank_channels
from mmposenc.layers import pooled_features
from mmposenc.mm.loops.base import describe_data
from mmposenc.ranking import Ranking, model_fingerprint

# A column c of 5 lit at 250 has the mean 50 and lies at x = c / 4: |z(I) - z(mI)| is 50 |2c - 4| / 4 in channel 0.
COLUMNS = (0, 1, 2, 4, 0)
EQ2 = 50 * (1 + 0.5 + 0 + 1 + 1) / 5
EQ3 = 50 * (-1 - 0.5 + 0 + 1 - 1) / 5


def rank(model: nn.Module, dataset: dict, folder: Path, loader: dict | None = None, **options) -> Runner:
    """Options named hooks and scope are the runner's, the others the loop's."""
    sampler = dict(type='DefaultSampler', shuffle=False)
    loader = {**dict(batch_size=2, num_workers=0, dataset=dataset, sampler=sampler), **(loader or {})}
    runner = dict(custom_hooks=options.pop('hooks', None), default_scope=options.pop('scope', 'mmseg'))
    cfg = dict(type='mmposenc.ChannelRankingLoop', **{'layer': 'backbone[-1]', **options})
    made = make_runner(model, dataset, folder, test_cfg=cfg, test_dataloader=loader, test_evaluator=[], **runner)
    made.test()
    return made


def ranked(*args, **options) -> Ranking:
    """The only ranking of a run."""
    (found,) = rank(*args, **options).test_loop.rankings.values()
    return found


@pytest.mark.parametrize('head', HEADS)
def test_planted_channels_under_any_head(tmp_path: Path, head: str) -> None:
    model = make_segmenter(head)
    runner = rank(model, lit_columns(tmp_path, *COLUMNS), tmp_path, statistics=['abs', 'signed'])
    found = Ranking.load(tmp_path / 'work' / 'ranking-flip_image-abs.json')
    assert found.scores == pytest.approx([EQ2, EQ2, 0, 0, 0], abs=1e-4)
    assert set(found.order[:2]) == {0, 1}
    signed = Ranking.load(tmp_path / 'work' / 'ranking-flip_image-signed.json')
    assert signed.scores == pytest.approx([EQ3, -EQ3, 0, 0, 0], abs=1e-4)
    assert (found.num_images, found.model, found.layer) == (5, 'EncoderDecoder', 'backbone[-1]')
    assert found.model_sha256 == model_fingerprint(model)
    assert (found.data_set, found.region, found.checkpoint_sha256) == ('BaseSegDataset images', 'overall', '')
    assert number_of_hooks(model) == 0
    (path,) = Path(runner.work_dir).glob('*/vis_data/scalars.json')
    (figures,) = (json.loads(line) for line in path.read_text().splitlines())
    assert (figures['rank/images'], figures['rank/channels']) == (5, 5)
    assert figures['rank/reliability/flip_image-abs'] == pytest.approx(1)


def test_images_are_flipped_before_they_are_padded(tmp_path: Path) -> None:
    model = make_segmenter()
    model.data_preprocessor.test_cfg = dict(size_divisor=4)  # 5 px to 8 px: the padding is on the right
    runner = rank(model, lit_columns(tmp_path, *COLUMNS), tmp_path)
    images = torch.stack([runner.test_dataloader.dataset[index]['inputs'].float() for index in range(5)])

    def padded(images: torch.Tensor) -> torch.Tensor:
        return model(nn.functional.pad(images, (0, 3, 0, 3)), mode='tensor')

    first, second = (pooled_features(model, 'backbone[-1]', view, padded) for view in (images, images.flip(-1)))
    (found,) = runner.test_loop.rankings.values()
    assert found.scores == pytest.approx((first - second).abs().mean(0).tolist(), rel=1e-6)


DEIT = dict(type='DistilledVisionTransformer', arch='deit-tiny', img_size=64)
SWIN = dict(type='SwinTransformer', arch='tiny', img_size=64, pad_small_map=True)
PIDNET = dict(type='PIDNet', channels=8, ppm_channels=8, align_corners=False)


@pytest.mark.slow
@pytest.mark.parametrize('scope, layer, prefix_tokens, config', [
    ('mmpretrain', 'backbone[-1]', 0, {**DEIT, 'out_type': 'featmap'}),
    ('mmpretrain', 'backbone.ln1', 2, DEIT),
    ('mmpretrain', 'backbone.layers.5', 2, DEIT),
    ('mmpretrain', 'backbone[-1]', 0, SWIN),
    ('mmpretrain', 'backbone.stages.1[0]', 0, SWIN),
    ('mmseg', 'backbone[-1]', 0, PIDNET),
])  # fmt: skip
@torch.no_grad()
def test_networks_of_other_families(scope: str, layer: str, prefix_tokens: int, config: dict) -> None:
    import mmpretrain.models
    import mmseg.models

    registry = {'mmpretrain': mmpretrain.registry.MODELS, 'mmseg': mmseg.registry.MODELS}[scope]
    torch.manual_seed(0)
    model, images = nn.ModuleDict({'backbone': registry.build(config)}).eval(), torch.rand(2, 3, 64, 64)
    name, _, item = layer.rstrip(']').partition('[')
    outputs: list = []
    hook = model.get_submodule(name).register_forward_hook(lambda module, args, output: outputs.append(output))
    for view in (images, images.flip(-1)):
        model['backbone'](view)
    hook.remove()
    maps = [output[int(item)] if isinstance(output, tuple) else output for output in outputs]
    first, second = (x.mean((2, 3)) if x.ndim == 4 else x[:, prefix_tokens:].mean(1) for x in maps)
    ranking = rank_channels(model, [images], layer, forward=model['backbone'])
    assert ranking.scores == pytest.approx((first - second).abs().mean(0).tolist(), rel=1e-3, abs=1e-6)
    assert max(ranking.scores) > 1e-4


SHUFFLED = dict(batch_size=3, drop_last=True, sampler=dict(type='DefaultSampler', shuffle=True))


@pytest.mark.parametrize('loader', [dict(batch_size=1), SHUFFLED, dict(batch_size=5)])
def test_equals_plain_pytorch_for_all_pairs_in_one_pass(tmp_path: Path, loader: dict) -> None:
    pairs = ['flip_image', 'roll_image', 'flip_image_flipped_kernels']
    dataset = lit_columns(tmp_path, *COLUMNS, width=16)
    model = make_segmenter()
    torch.manual_seed(0)
    model.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 7, 3, 1, 1))
    options = dict(layer='backbone.2', pairs=pairs, statistics=['abs', 'relative'], loader=loader)
    runner = rank(model, dataset, tmp_path, **options)
    rankings = {(found.pair, found.statistic): found for found in runner.test_loop.rankings.values()}
    assert len(rankings) == 6
    # BGR images as they are read: here grey, so the order of their channels does not matter.
    images = torch.stack([runner.test_dataloader.dataset[index]['inputs'].float() for index in range(5)])
    for (pair, statistic), found in rankings.items():
        plain = rank_channels(model.backbone, [images], '2', pair, statistic)
        assert found.scores == pytest.approx(plain.scores, rel=1e-5)
        assert found.num_images == plain.num_images
        assert found.reliability == pytest.approx(plain.reliability)


def test_a_classifier_of_mmpretrain(tmp_path: Path, classifier_config: Path) -> None:
    cfg = Config.fromfile(classifier_config)
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build({**cfg.model, 'data_preprocessor': {'type': 'ClsDataPreprocessor', **cfg.data_preprocessor}})
    options = dict(loader=cfg.test_dataloader, scope='mmpretrain')
    last, neck = (ranked(model, {}, tmp_path, layer=layer, **options) for layer in ('backbone[-1]', 'neck'))
    assert last.num_channels == 32
    assert max(last.scores) > 1e-3
    assert last.scores == pytest.approx(neck.scores)  # pooling commutes with nothing that the neck does beside it


def test_centred_takes_the_signed_ranking_of_all_images(tmp_path: Path) -> None:
    dataset, model = lit_columns(tmp_path, *COLUMNS), make_segmenter()
    whole, left = str(tmp_path / 'whole.json'), str(tmp_path / 'out' / 'left.json')
    rank(model, dataset, tmp_path, statistics=['signed'], out=whole)
    (tmp_path / 'left.txt').write_text('0\n1\n')
    subset = {**dataset, 'ann_file': str(tmp_path / 'left.txt')}
    rank(model, subset, tmp_path, statistics=['centred'], out=left, reference=whole, region='left')
    found = Ranking.load(left)
    assert found.scores == pytest.approx([-37.5 - EQ3, 37.5 + EQ3, 0, 0, 0], abs=1e-4)
    assert (found.region, found.data_set) == ('left', 'BaseSegDataset images left.txt')
    for options, message in (
        (dict(pairs=['roll_image'], statistics=['centred']), "a 'signed' ranking by 'roll_image' at 'backbone"),
        (dict(statistics=['abs']), "is for statistic 'centred' only"),
    ):
        with pytest.raises(ValueError, match=message):
            rank(model, dataset, tmp_path, reference=whole, **options)
    model.decode_head.conv_seg.bias.data += 1
    with pytest.raises(ValueError, match='reference was made from other weights'):
        rank(model, dataset, tmp_path, statistics=['centred'], reference=whole)


OFF = [dict(type='mmposenc.ChannelAblationHook', layer='backbone[-1]', channels=[0])]


@pytest.mark.parametrize('options, message', [
    (dict(layer='backbone'), r"gives a tuple of 2, one tensor is needed: write 'backbone\[-1\]'"),
    (dict(rank_split='half'), r"split must be one of all, even, odd, got 'half'"),
    (dict(statistics='abs'), r"must be lists of names, got .* and 'abs'"),
    (dict(hooks=OFF), 'this loop needs the whole network: remove ChannelAblationHook'),
])  # fmt: skip
def test_arguments_that_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank(make_segmenter(), lit_columns(tmp_path, *COLUMNS), tmp_path, **options)
    assert not list((tmp_path / 'work').glob('*.json'))


def test_whole_images_are_compared_though_windows_slide_in_a_test(tmp_path: Path) -> None:
    model = make_segmenter(test_cfg=dict(mode='slide', crop_size=(3, 3), stride=(2, 2)))
    found = ranked(model, lit_columns(tmp_path, *COLUMNS), tmp_path, allow_slide=True)
    assert found.scores[0] == pytest.approx(EQ2)


def test_images_that_cannot_be_ranked(tmp_path: Path) -> None:
    dataset = lit_columns(tmp_path, *COLUMNS)
    lit_columns(tmp_path, 0, width=7)  # image 0 is wider now
    (tmp_path / 'none.txt').write_text('')
    for change, loader, message in (
        ({}, {}, r'must have one size, got \[\(5, 5\), \(5, 7\)\]: set test_dataloader.batch_size=1'),
        ({}, dict(collate_fn=dict(type='default_collate')), r'one size, got \[3, 5, 7\].*: set test_dataloader.batch'),
        (dict(indices=[], serialize_data=False), {}, r'there are no images: check the ann_file'),
        (dict(ann_file=str(tmp_path / 'none.txt')), {}, r'there are no images: check the ann_file'),
    ):
        with pytest.raises(ValueError, match=message):
            rank(make_segmenter(), {**dataset, **change}, tmp_path, loader)


def test_more_processes_than_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('mmposenc.mm.loops.rank.get_dist_info', lambda: (1, 6))
    with pytest.raises(ValueError, match='6 processes cannot share 5 images: start fewer'):
        rank(make_segmenter(), lit_columns(tmp_path, *COLUMNS), tmp_path)


def test_data_are_described_without_folders() -> None:
    prefix = dict(img_path='/somewhere/leftImg8bit/val', seg_map_path='/somewhere/gtFine/val')
    data = SimpleNamespace(data_prefix=prefix, ann_file='/lists/val-left.txt')
    assert describe_data(data) == 'SimpleNamespace val val-left.txt'
    assert describe_data(SimpleNamespace(data_prefix='/somewhere/val')) == 'SimpleNamespace val'
    assert describe_data(range(3)) == 'range'


def test_a_grid_is_mirrored_and_not_each_patch_in_its_place(tmp_path: Path) -> None:
    cfg = Config.fromfile('configs/gapnet_r18_grid3-location_digits.py')
    cfg.test_dataloader.dataset.indices = 4
    cfg.merge_from_dict(dict(work_dir=str(tmp_path), test_evaluator=[], randomness=dict(seed=0), log_level='ERROR'))
    pairs = ['flip_image', 'roll_image']
    cfg.test_cfg = dict(type='mmposenc.ChannelRankingLoop', layer='backbone[-1]', pairs=pairs)
    runner = Runner.from_cfg(cfg)
    runner.test()
    data = runner.test_dataloader.dataset
    canvases = runner.model.data_preprocessor(dict(data.__getitems__(list(range(len(data))))), False)['inputs']
    for pair, found in zip(pairs, runner.test_loop.rankings.values(), strict=True):
        plain = rank_channels(runner.model.backbone, [canvases], 'layer3', pair=pair)
        assert max(plain.scores) > 0
        torch.testing.assert_close(torch.tensor(found.scores), torch.tensor(plain.scores))
