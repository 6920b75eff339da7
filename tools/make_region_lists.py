"""List the images that have all of a class in one half: the same as `mmposenc region-lists`."""

from mmposenc.cli import main

if __name__ == '__main__':
    main('region-lists')
