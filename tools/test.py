"""Test a checkpoint: the same as `mmposenc test`."""

from mmposenc.cli import main

if __name__ == '__main__':
    main('test')
