"""Compare rankings of the same channels: the same as `mmposenc compare`."""

from mmposenc.cli import main

if __name__ == '__main__':
    main('compare')
