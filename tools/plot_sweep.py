"""Draw the curves of a sweep and write its report (Fig. 4 and 6): the same as `mmposenc report`."""

from mmposenc.cli import main

if __name__ == '__main__':
    main('report')
