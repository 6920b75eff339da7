"""Rank the channels of a layer by how much they encode position: the same as `mmposenc rank`."""

from mmposenc.cli import main

if __name__ == '__main__':
    main('rank')
