"""The results page and the model index show the figures of docs/results, and nothing was edited by hand."""

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / 'docs'


def test_page_and_index_agree_with_the_figures():
    done = subprocess.run([sys.executable, DOCS / 'render_results.py', '--check'], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'all agree with the figures\n')
