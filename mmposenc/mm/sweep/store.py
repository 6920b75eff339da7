"""Where a sweep keeps its counts, so that it can be killed at any moment and go on."""

import csv
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 'mmposenc.sweep/1'
_SECONDS_PER_UNIT = 1.0


class SweepStore:
    """The folder of a sweep: conditions, counts of each image, tables (ours).

    While the sweep runs, the counts of about a second's images at a time are a file of their own in `units/`, so that a
    kill loses no more than that. At the end they become one file, `sweep_counts.npz` with `counts` (images first),
    and the units are taken away. Every file is written under a temporary name and renamed, and depends on nothing but
    conditions and counts: not on interruptions, nor on the number of processes.

    Args:
        folder: Of the sweep.
        conditions: What the counts depend on, as JSON takes it; kept in `sweep.json`.

    Raises:
        ValueError: If the folder holds a sweep of other conditions, or files that are none of a sweep's.
    """

    def __init__(self, folder: str | Path, conditions: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.units = self.folder / 'units'
        self.conditions = json.loads(json.dumps({'format': FORMAT, **conditions}, allow_nan=False))
        self._positions: list[int] = []
        self._counts: list[np.ndarray] = []
        self._flushed = time.monotonic()
        self._check()

    def open(self) -> set[int]:
        """Make the folder and write the conditions; one process does it, before any adds counts.

        Returns:
            Positions of the images that are counted already.
        """
        self.units.mkdir(parents=True, exist_ok=True)
        self._write('sweep.json', (json.dumps(self.conditions, indent=1) + '\n').encode())
        # What a killed process was writing; every other file has its final name.
        for left in (*self.folder.glob('.*.tmp'), *self.units.glob('.*.tmp')):
            left.unlink(missing_ok=True)
        return {position for _, positions, _ in self._read() for position in positions.tolist()}

    def add(self, positions: Sequence[int], counts: np.ndarray) -> None:
        """Keep the counts of some images; they are on disk within a second, or after `flush`.

        Args:
            positions: Of the images in the data set.
            counts: Their counts, images first.
        """
        self._positions += positions
        self._counts.append(counts)
        if time.monotonic() - self._flushed >= _SECONDS_PER_UNIT:
            self.flush()

    def flush(self) -> None:
        """Write what has been added."""
        if self._positions:
            name = f'units/{self._positions[0]:08d}-{len(self._positions)}.npz'
            self._write(name, _npz(np.array(self._positions), np.concatenate(self._counts)))
        self._positions, self._counts = [], []
        self._flushed = time.monotonic()

    def merge(self, num_images: int) -> np.ndarray:
        """Put the counts of all images, in their order, into one file; one process does it, when all have flushed.

        Raises:
            ValueError: If an image is not counted, or a file holds counts of other images or variants.
        """
        merged: np.ndarray | None = None
        missing = set(range(num_images))
        for file, positions, counts in self._read():
            if merged is None:
                merged = np.zeros((num_images, *counts.shape[1:]), counts.dtype)
            if counts.shape[1:] != merged.shape[1:] or counts.dtype != merged.dtype or max(positions) >= num_images:
                raise ValueError(f'{file} is not of this sweep: take it away, and run the same command again')
            merged[positions] = counts
            missing.difference_update(positions.tolist())
        if merged is None or missing:
            raise ValueError(f'{len(missing)} of {num_images} images are not counted yet: run the same command again')
        self._write('sweep_counts.npz', _npz(np.arange(num_images), merged))
        return merged

    def write_table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write a table as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        writer.writerows([head, *rows])
        self._write(name, text.getvalue().encode())

    def close(self) -> None:
        """Take the units away, once everything is in its final file."""
        for unit in self.units.glob('*.npz'):
            unit.unlink(missing_ok=True)
        self.units.rmdir()

    def _check(self) -> None:
        file = self.folder / 'sweep.json'
        if not file.exists():
            if self.folder.is_file() or (self.folder.is_dir() and any(self.folder.glob('sweep*'))):
                raise ValueError(f'{self.folder} holds files of a sweep without its sweep.json: choose another folder')
            return
        try:
            kept = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{file} is not JSON ({error}): choose another folder, or take this one away') from None
        if not isinstance(kept, dict):
            raise ValueError(f'{file} is not of a sweep: choose another folder')
        names = [name for name in {**kept, **self.conditions} if not _agree(name, kept, self.conditions)]
        if names:
            raise ValueError(
                f'{self.folder} holds a sweep of other conditions ({", ".join(names):.200} differ): choose another '
                f'folder, take this one away, or repeat the command it was made with'
            )

    def _read(self) -> list[tuple[Path, np.ndarray, np.ndarray]]:
        """Every whole file, its positions and its counts."""
        contents = []
        for file in (*sorted(self.units.glob('*.npz')), self.folder / 'sweep_counts.npz'):
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    positions, counts = arrays['positions'], arrays['counts']
            except PermissionError:
                raise
            # Cut short by a power cut, which a rename does not survive, or damaged, which the reader stumbles over in
            # ways that cannot be foreseen: counted again.
            except Exception:
                continue
            if _is_whole(positions, counts):
                contents.append((file, positions, counts))
        return contents

    def _write(self, name: str, content: bytes) -> None:
        target = self.folder / name
        temporary = target.with_name(f'.{target.name}.{os.getpid()}.tmp')
        try:
            temporary.write_bytes(content)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def _agree(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return name in one and name in other and one[name] == other[name]


def _is_whole(positions: np.ndarray, counts: np.ndarray) -> bool:
    shapes = positions.ndim == 1 and counts.ndim and 0 < len(positions) == len(counts)
    return bool(shapes and positions.dtype.kind == counts.dtype.kind == 'i' and positions.min() >= 0)


def _npz(positions: np.ndarray, counts: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, positions=positions, counts=counts)
    return buffer.getvalue()
