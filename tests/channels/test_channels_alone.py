"""mmposenc.channels needs PyTorch and the standard library only."""

import subprocess
import sys
import textwrap


def test_ranking_and_ablation_without_the_openmmlab_stack_or_numpy():
    script = textwrap.dedent(
        """
        import importlib.util, sys, warnings

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.partition('.')[0] in ('mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'torchvision', 'numpy'):
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, Refuse())
        importlib.util.find_spec = lambda name, package=None: None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            from mmposenc.channels.ablation import ablate_channels
            from mmposenc.channels.rank import rank_channels
            from mmposenc.channels.channel_choice import top_channels
        assert any('only mmposenc.channels can be used' in str(w.message) for w in caught), caught
        import torch
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU())
        ranking = rank_channels(net, [torch.rand(2, 3, 8, 8)], '1')
        with ablate_channels(net, '1', top_channels(ranking, 4), num_channels=ranking.num_channels):
            print(float(net(torch.rand(1, 3, 8, 8)).abs().max()), ranking.num_images)
        """
    )
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=False)
    assert done.stdout == '0.0 2\n', done.stderr
