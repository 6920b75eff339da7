from mmposenc.cli import main

if __name__ == '__main__':
    main('demo')
