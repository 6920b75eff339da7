"""Train a model from a config: the same as `mmposenc train`."""

from mmposenc.cli import main

if __name__ == '__main__':
    main('train')
