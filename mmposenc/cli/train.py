"""Train a model from a config.

Examples:
    mmposenc train configs/augshift_r18_cifar100.py
    mmposenc train mmposenc::augshift_r18_cifar100.py --resume --work-dir work_dirs/mine
"""

from argparse import ArgumentParser, Namespace
from typing import Any

from mmposenc.cli import common


def add_arguments(parser: ArgumentParser) -> None:
    common.add_run_arguments(parser, checkpoint=False)
    add = parser.add_argument
    add('--amp', action='store_true', help='train in bfloat16 (autocast), on a GPU or a CPU')
    resume = 'resume from CHECKPOINT, or without one from the last whole checkpoint of the work directory'
    add('--resume', nargs='?', const='auto', metavar='CHECKPOINT', help=resume)
    add('--deterministic', action='store_true', help='same seed, same bits: slower, nothing compiled')


def run(args: Namespace) -> dict[str, Any]:
    """Train, and end with the figures of the last validation, which are returned, and the checkpoint."""
    from mmposenc.host.config import deterministic, use_autocast

    cfg = common.load_config(args, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    if args.amp:
        use_autocast(cfg)
    with common.lock(cfg, cfg.work_dir, '--work-dir'):
        if args.resume:
            common.resume(cfg, args.resume, args.trust_checkpoint)
        if args.deterministic:
            deterministic(cfg)
        runner = common.build_runner(cfg, args.verbose)
        runner.train()
    hub, times = runner.message_hub, ('val/time', 'val/data_time')
    last = {name: buffer.current() for name, buffer in hub.log_scalars.items() if len(buffer.data[0])}
    figures = {name[4:]: value for name, value in last.items() if name.startswith('val/') and name not in times}
    if not figures and 'train/loss' in last:  # a training without validation
        figures = {'loss': last['train/loss']}
    common.report(figures, hub.runtime_info.get('last_ckpt'))
    return figures
