"""Download and verify CIFAR-10 or CIFAR-100: the same as `mmposenc prepare-data`."""

from mmposenc.cli import main

if __name__ == '__main__':
    main('prepare-data')
