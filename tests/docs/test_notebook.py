"""The notebook runs from its first cell to its last, and its outputs are those that are committed with it."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).parents[2] / 'examples' / 'position_in_ten_minutes.ipynb'
_NUMBER = re.compile(r'\d+\.\d+')


def outputs(notebook: nbformat.NotebookNode) -> list[dict[str, str]]:
    """What each code cell shows: printed text under 'text/plain', a picture under 'image/png'."""
    shown: list[dict[str, str]] = []
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            shown.append({})
            for output in cell.outputs:
                if output.get('name') != 'stderr':  # warnings of other packages
                    shown[-1].update(output.get('data') or {'text/plain': output['text']})
    return shown


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_notebook_shows_what_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Percentages agree within 5 points, p values within 0.1: other processors add up in another order."""
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    committed = outputs(notebook := nbformat.read(PATH, 4))
    NotebookClient(notebook, timeout=900, kernel_name='python3', resources={'metadata': {'path': tmp_path}}).execute()
    for before, after in zip(committed, outputs(notebook), strict=True):
        assert before.keys() == after.keys()
        one, two = before.get('text/plain', ''), after.get('text/plain', '')
        assert _NUMBER.sub('', one) == _NUMBER.sub('', two)
        for shown, got in zip(*(map(float, _NUMBER.findall(text)) for text in (one, two)), strict=True):
            assert got == pytest.approx(shown, abs=5 if shown > 1 else 0.1)
