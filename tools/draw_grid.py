"""Draw what a grid experiment is shown, and what it predicts (Fig. 1): the same as `mmposenc draw grids`."""

from mmposenc.cli import main

if __name__ == '__main__':
    main('draw', 'grids')
