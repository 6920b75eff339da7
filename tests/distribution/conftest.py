"""Runs on several processes: their folder also finds the small networks of tests/mm/loops."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / 'mm' / 'loops'))
