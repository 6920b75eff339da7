"""Test a checkpoint with the config it was trained with, or with any other config of the same model.

Examples:
    mmposenc test configs/augshift_r18_cifar100.py work_dirs/augshift_r18_cifar100/epoch_120.pth
    torchrun --nproc_per_node 8 -m mmposenc test CONFIG CHECKPOINT
"""

from argparse import ArgumentParser, Namespace

from mmposenc.cli import common


def add_arguments(parser: ArgumentParser) -> None:
    common.add_run_arguments(parser)
    parser.add_argument('--amp', action='store_true', help='test in bfloat16 (autocast), on a GPU or a CPU')
    parser.add_argument('--deterministic', action='store_true', help='same seed, same bits: slower, nothing compiled')


def run(args: Namespace) -> None:
    """Test, and end with the figures and the checkpoint."""
    import torch
    from mmengine.device import get_device

    from mmposenc.host.config import deterministic

    cfg = common.load_config(args, 'model', 'test_dataloader', 'test_cfg', 'test_evaluator')
    if args.deterministic:
        deterministic(cfg)
    runner = common.build_runner(cfg, args.verbose)
    if args.amp:
        runner.test_loop.fp16 = True  # without it mmengine's loops turn autocast off
    with torch.autocast(get_device(), torch.bfloat16, enabled=args.amp):
        figures = runner.test()
    common.report(figures, args.checkpoint)
