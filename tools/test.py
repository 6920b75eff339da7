"""Test a checkpoint with the config it was trained with, or with any other config of the same model."""

from collections.abc import Sequence

import torch
from mmengine.device import get_device

from mmposenc import command_line


def main(argv: Sequence[str] | None = None) -> None:
    """Test, and end with the figures and the checkpoint (ours)."""
    parser = command_line.make_parser('Test a model.')
    parser.add_argument('checkpoint', help='checkpoint file or URL; it must fit the model of the config exactly')
    parser.add_argument('--amp', action='store_true', help='test in bfloat16 (autocast), on a GPU or a CPU')
    args = parser.parse_args(argv)
    cfg = command_line.load_config(args)
    command_line.require(cfg, 'model', 'test_dataloader', 'test_cfg', 'test_evaluator')
    command_line.load_weights(cfg, args.checkpoint)
    runner = command_line.build_runner(cfg)
    with torch.autocast(get_device(), torch.bfloat16, enabled=args.amp):
        figures = runner.test()
    command_line.report(figures, args.checkpoint)


if __name__ == '__main__':
    command_line.run(main)
