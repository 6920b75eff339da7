"""Ablate more and more channels, for several rankings: the same as `mmposenc sweep`."""

from mmposenc.cli import main

if __name__ == '__main__':
    main('sweep')
