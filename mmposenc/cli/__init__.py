"""The command `mmposenc`: one file per subcommand, whose arguments are parsed before torch or OpenMMLab are imported.

A module of this folder has `add_arguments(parser)` and `run(args)`; its docstring is the `--help`. Whatever takes long
to import is imported inside `run`. `args.argv` holds the arguments as they were typed.
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from mmposenc.host import errors
from mmposenc.version import __version__

COMMANDS = {
    'train': 'train a model from a config',
    'test': 'test a checkpoint',
    'rank': 'rank the channels of a layer by how much they encode position (Sec. 4.2.1)',
    'sweep': 'ablate more and more channels, for several rankings, in one pass over the data (Fig. 4 and 6)',
    'draw': "draw a grid experiment (Fig. 1), or a segmenter's predictions with channels ablated (Fig. 5)",
    'report': 'draw the curves of a sweep, and write them with its tables into one page',
    'compare': 'compare rankings of the same channels',
    'region-lists': 'list the images that have all of a class in one half (Sec. 4.2.3)',
    'consistency': 'measure Top-1 and consistency under shifts of a classifier, by all protocols (Sec. 4.1)',
    'probe': 'measure how much position the pooled features of frozen networks hold (Sec. 3)',
    'reproduce': 'run the experiments of the paper that are not done yet, or list what is done',
    'prepare-data': 'download and verify CIFAR-10 or CIFAR-100',
}
"""Subcommands and what each does; `mmposenc/cli/<name>.py` implements it."""


def main(*words: str) -> None:
    """Run the command line; `words` stand before the arguments that were typed, such as 'train' in tools/train.py."""
    argv = [*words, *sys.argv[1:]]
    errors.run(lambda: call(argv), traceback='--traceback' in argv)


def call(argv: Sequence[str]) -> Any:
    """Parse the arguments, run the subcommand and return what it returns; exceptions are the caller's."""
    name, *rest = argv or ['--help']
    if name in ('-h', '--help', '--version'):
        print(__version__ if name == '--version' else _overview())
        return None
    if name not in COMMANDS:
        print(f'{_overview()}\n\nerror: no subcommand {name}', file=sys.stderr)
        raise SystemExit(2)
    module = import_module(f'mmposenc.cli.{name.replace("-", "_")}')
    return module.run(make_parser(name, module).parse_args(rest, Namespace(argv=rest)))


def make_parser(name: str, module: ModuleType) -> ArgumentParser:
    """The parser of a subcommand."""
    layout: Any = dict(formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    parser = ArgumentParser(prog=f'mmposenc {name}', description=module.__doc__, **layout)
    module.add_arguments(parser)
    parser.add_argument('--traceback', action='store_true', help='on an error, show where in the code it happened')
    return parser


def _overview() -> str:
    lines = '\n'.join(f'  {name:15}{text}' for name, text in COMMANDS.items())
    return f'usage: mmposenc COMMAND ...\n\n{lines}\n\nmmposenc COMMAND --help describes its arguments.'
