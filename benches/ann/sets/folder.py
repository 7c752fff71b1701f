"""The folder of a data set: written whole or not at all, read through memory maps."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

NEIGHBORS = 100
"""Exact neighbours stored for each query."""


@dataclass
class Folder:
    """A prepared data set."""

    path: Path
    about: dict[str, Any]

    @staticmethod
    def open(path: Path) -> "Folder":
        """Raises `FileNotFoundError` where nothing was prepared."""
        return Folder(path, json.loads((path / "set.json").read_text()))

    @property
    def name(self) -> str:
        """What results call it."""
        return self.about["name"]

    @property
    def metric(self) -> str:
        """`cosine` (everything in unit length) or `euclid`."""
        return self.about["metric"]

    def vectors(self) -> np.ndarray:
        """`[points, dim]`, mapped."""
        return np.load(self.path / "vectors.npy", mmap_mode="r")

    def queries(self) -> np.ndarray:
        """`[queries, dim]`."""
        return np.load(self.path / "queries.npy")

    def neighbors(self) -> np.ndarray:
        """`[queries, 100]`, nearest first."""
        return np.load(self.path / "neighbors.npy")

    @property
    def f32_bytes(self) -> int:
        """What the vectors take in single precision."""
        return self.about["points"] * self.about["dim"] * 4


class Draft:
    """A folder that is being made, beside its final place; `finish` moves it there."""

    def __init__(self, final: Path) -> None:
        self._final = final
        self.path = final.with_name(f".{final.name}.{os.getpid()}")
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)

    def save(self, what: str, rows: np.ndarray) -> None:
        """Writes `what.npy`."""
        np.save(self.path / f"{what}.npy", np.ascontiguousarray(rows))

    def create(self, what: str, shape: tuple[int, int], dtype: Any) -> np.memmap:
        """`what.npy` as a map to write into."""
        return np.lib.format.open_memmap(self.path / f"{what}.npy", "w+", dtype, shape)

    def finish(self, about: dict[str, Any]) -> Folder:
        """Adds `set.json` and moves the folder to its place."""
        (self.path / "set.json").write_text(json.dumps(about, indent=1) + "\n")
        shutil.rmtree(self._final, ignore_errors=True)
        self.path.rename(self._final)
        return Folder.open(self._final)
