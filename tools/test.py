"""Test a checkpoint with the config it was trained with, or with any other config of the same model."""

from collections.abc import Sequence

from mmposenc.cli import common as command_line


def main(argv: Sequence[str] | None = None) -> None:
    """Test, and end with the figures and the checkpoint (ours)."""
    parser = command_line.make_parser('Test a model.')
    parser.add_argument('checkpoint', help='checkpoint file or URL; it must fit the model of the config exactly')
    parser.add_argument('--amp', action='store_true', help='test in bfloat16 (autocast), on a GPU or a CPU')
    parser.add_argument('--deterministic', action='store_true', help='same seed, same bits: slower, nothing compiled')
    args = parser.parse_args(argv)
    cfg = command_line.load_config(args)
    command_line.require(cfg, 'model', 'test_dataloader', 'test_cfg', 'test_evaluator')
    command_line.load_weights(cfg, args.checkpoint)
    if args.deterministic:
        command_line.deterministic(cfg)
    runner = command_line.build_runner(cfg)
    with command_line.autocast(args.amp):
        figures = runner.test()
    command_line.report(figures, args.checkpoint)


if __name__ == '__main__':
    command_line.run(main)
