"""Where a sweep keeps its counts while it runs, so that it can be killed at any moment and resumes."""

import io
import json
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmposenc.results import atomic_write

_SECONDS_PER_UNIT = 1.0


class SweepFolder:
    """The folder of a sweep that runs, or has ended.

    The counts of about a second's images at a time are a file of their own in `units/`; at the end they become the
    `sweep_counts.npz` of `Sweep.save`, and the units are removed. No file depends on interruptions or on the number of
    processes.

    Args:
        folder: Of the sweep.
        conditions: What the counts depend on, from `sweep_conditions`; kept in `sweep.json`.

    Raises:
        ValueError: If the folder holds a sweep under other conditions, or something else.
    """

    def __init__(self, folder: str | Path, conditions: Mapping[str, Any]) -> None:
        self.folder, self.conditions = Path(folder), dict(conditions)
        self.units = self.folder / 'units'
        self._positions: list[int] = []
        self._counts: list[np.ndarray] = []
        self._flushed = time.monotonic()
        kept = read_conditions(self.folder)
        if kept is not None and kept != self.conditions:
            names = [name for name in {**kept, **self.conditions} if kept.get(name) != self.conditions.get(name)]
            raise ValueError(
                f'{self.folder} holds a sweep under other conditions ({", ".join(names):.200} differ): choose another '
                'folder, delete this one, or repeat the command that it was made with'
            )

    def open(self) -> set[int]:
        """Make the folder and write the conditions; one process does it, before any adds counts.

        Returns:
            Positions of the images that are already counted.
        """
        self.units.mkdir(parents=True, exist_ok=True)
        atomic_write(self.folder / 'sweep.json', json.dumps(self.conditions, indent=1) + '\n')
        for left in (*self.folder.glob('.*.tmp'), *self.units.glob('.*.tmp')):  # What a killed process was writing.
            left.unlink(missing_ok=True)
        return {position for _, positions, _ in self._read() for position in positions.tolist()}

    def add(self, positions: Sequence[int], counts: Tensor) -> None:
        """Keep the counts of some images; they are on disk within a second, or after `flush`."""
        self._positions += positions
        self._counts.append(counts.numpy())
        if time.monotonic() - self._flushed >= _SECONDS_PER_UNIT:
            self.flush()

    def flush(self) -> None:
        """Write what has been added."""
        if self._positions:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, positions=np.array(self._positions), counts=np.concatenate(self._counts))
            name = f'{self._positions[0]:08d}-{len(self._positions)}.npz'
            atomic_write(self.units / name, buffer.getvalue())
        self._positions, self._counts = [], []
        self._flushed = time.monotonic()

    def merge(self, num_images: int) -> Tensor:
        """The counts of all images in their order; one process reads them, when all have flushed.

        Raises:
            ValueError: If an image is not counted.
        """
        merged: np.ndarray | None = None
        missing = set(range(num_images))
        for file, positions, counts in self._read():
            if merged is None:
                merged = np.zeros((num_images, *counts.shape[1:]), counts.dtype)
            if counts.shape[1:] != merged.shape[1:] or max(positions) >= num_images:
                raise ValueError(f'{file} is not of this sweep: delete it, and run the same command again')
            merged[positions] = counts
            missing.difference_update(positions.tolist())
        if merged is None or missing:
            raise ValueError(f'{len(missing)} of {num_images} images are not counted yet: run the same command again')
        return torch.from_numpy(merged)

    def close(self) -> None:
        """Remove the units, once everything is in its final file."""
        for unit in self.units.glob('*.npz'):
            unit.unlink(missing_ok=True)
        self.units.rmdir()

    def _read(self) -> Iterator[tuple[Path, np.ndarray, np.ndarray]]:
        """Every file, its positions and its counts. One that a power cut has damaged is counted again."""
        for file in (*sorted(self.units.glob('*.npz')), self.folder / 'sweep_counts.npz'):
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    counts = arrays['counts']
                    positions = arrays['positions'] if 'positions' in arrays else np.arange(len(counts))
            except (FileNotFoundError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
                continue
            if len(positions) == len(counts) > 0:
                yield file, positions, counts


def read_conditions(folder: str | Path) -> dict[str, Any] | None:
    """What the `sweep.json` of a folder says; None if there is no sweep in it.

    Raises:
        ValueError: If the file is damaged, or other files of a sweep lie there without it.
    """
    file = Path(folder, 'sweep.json')
    if not file.exists():
        if Path(folder).is_file() or any(Path(folder).glob('sweep*')):
            raise ValueError(f'{folder} holds files of a sweep without its sweep.json: choose another folder')
        return None
    try:
        kept = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{file} is not JSON ({error}): choose another folder, or delete this one') from None
    if not isinstance(kept, dict):
        raise ValueError(f'{file} is not of a sweep: choose another folder')
    return kept
