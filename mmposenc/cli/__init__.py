"""The command `mmposenc`: one file per subcommand, whose arguments are parsed before torch or OpenMMLab are imported.

A module of this folder has `add_arguments(parser)` and `run(args)`; its docstring is the `--help`, whose first line the
overview shows. Whatever takes long to import is imported inside `run`. `args.argv` holds the arguments as they were
typed.
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from mmposenc.host import errors
from mmposenc.version import __version__

COMMANDS: tuple[str, ...] = ('train', 'test', 'rank', 'sweep', 'draw', 'report', 'compare', 'region-lists')
COMMANDS += ('consistency', 'probe', 'reproduce', 'prepare-data')
"""Subcommands; `mmposenc/cli/<name>.py` implements each."""


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
    args = make_parser(name).parse_args(rest, Namespace(argv=rest))
    return args.run(args)


def make_parser(name: str) -> ArgumentParser:
    """The parser of a subcommand; its arguments hold the function, as `run`."""
    module = import_module(f'mmposenc.cli.{name.replace("-", "_")}')
    layout: Any = dict(formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    parser = ArgumentParser(prog=f'mmposenc {name}', description=module.__doc__, **layout)
    module.add_arguments(parser)
    parser.add_argument('--traceback', action='store_true', help='on an error, show where in the code it happened')
    parser.set_defaults(run=module.run)
    return parser


def _overview() -> str:
    about = {name: make_parser(name).description or ' ' for name in COMMANDS}
    lines = '\n'.join(f'  {name:15}{text.splitlines()[0]}' for name, text in about.items())
    return f'usage: mmposenc COMMAND ...\n\n{lines}\n\nmmposenc COMMAND --help describes its arguments.'
