"""Train a model from a config, for example the headline: `python tools/train.py configs/augshift_r18_cifar100.py`."""

from collections.abc import Sequence

from mmposenc.cli import common as command_line


def main(argv: Sequence[str] | None = None) -> None:
    """Train, and end with the figures of the last validation and the checkpoint (ours)."""
    parser = command_line.make_parser('Train a model.')
    parser.add_argument('--amp', action='store_true', help='train in bfloat16 (autocast), on a GPU or a CPU')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from CHECKPOINT, or without one from the last whole checkpoint of the work directory',
    )
    parser.add_argument('--deterministic', action='store_true', help='same seed, same bits: slower, nothing compiled')
    args = parser.parse_args(argv)
    cfg = command_line.load_config(args)
    command_line.require(cfg, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    if args.amp:
        command_line.use_autocast(cfg)
    with command_line.lock(cfg, cfg.work_dir, '--work-dir'):
        if args.resume:
            command_line.resume(cfg, args.resume, args.trust_checkpoint)
        if args.deterministic:
            command_line.deterministic(cfg)
        runner = command_line.build_runner(cfg)
        runner.train()
    command_line.report(*command_line.training_result(runner))


if __name__ == '__main__':
    command_line.run(main)
