"""Draw what a segmenter predicts with channels ablated (Fig. 5): the same as `mmposenc draw overlays`."""

from mmposenc.cli import main

if __name__ == '__main__':
    main('draw', 'overlays')
