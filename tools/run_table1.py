"""Train Table 1, or any part of it: the same as `mmposenc table1`."""

from mmposenc.cli import main

if __name__ == '__main__':
    main('table1')
