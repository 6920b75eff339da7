"""Train a model from a config.

Examples:
    mmposenc train configs/augshift_r18_cifar100.py
    mmposenc train mmposenc::augshift_r18_cifar100.py --resume --work-dir work_dirs/mine
"""

from argparse import ArgumentParser, Namespace
from typing import Any

from mmposenc.cli import common


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    common.add_run_arguments(parser, checkpoint=False)
    parser.add_argument('--amp', action='store_true', help='train in bfloat16 (autocast), on a GPU or a CPU')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from CHECKPOINT, or without one from the last whole checkpoint of the work directory',
    )
    parser.add_argument('--deterministic', action='store_true', help='same seed, same bits: slower, nothing compiled')


def run(args: Namespace) -> dict[str, Any]:
    """Train, and end with the figures of the last validation, which are returned, and the checkpoint."""
    from mmposenc.host.config import deterministic, use_autocast

    cfg = common.load_config(args)
    common.require(cfg, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    if args.amp:
        use_autocast(cfg)
    with common.lock(cfg, cfg.work_dir, '--work-dir'):
        if args.resume:
            common.resume(cfg, args.resume, args.trust_checkpoint)
        if args.deterministic:
            deterministic(cfg)
        runner = common.build_runner(cfg, args.verbose)
        runner.train()
    figures, checkpoint = common.training_result(runner)
    common.report(figures, checkpoint)
    return figures
