"""Damage to files that a process uses, as failing disks, crashes and people do it: while it runs, or while it does not."""

import os
import random
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path


class Damager:
    """Damages files under a folder, the same ones in the same way for the same seed and files."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder = folder
        self.done: Counter[str] = Counter()
        """How often it did what."""
        self._rng = rng

    def strike(self) -> None:
        """Damages one file, in one of many ways; nothing where there is none, or where it has just gone by itself."""
        with suppress(OSError):  # it was replaced or made room for meanwhile, or the disk is full
            self._strike(sorted(path for path in self.folder.rglob("*") if path.is_file()))

    def _strike(self, files: list[Path]) -> None:
        if not files:
            return
        path, drawn = self._rng.choice(files), self._rng.random()
        others = [file for file in files if file != path]
        if drawn < 0.02:
            self._remove_all(files)
        elif drawn < 0.2 and others:
            self._replace(path, self._rng.choice(others))
        else:
            kinds = [self._flip] * 3 + [self._cut] * 2 + [self._remove, self._zero, self._grow]
            self._rng.choice(kinds)(path)

    def _flip(self, path: Path) -> None:
        """Other bits in up to sixteen bytes."""
        with open(path, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            for _ in range(self._rng.randint(1, 16) if size else 0):
                at = self._rng.randrange(size)
                byte = os.pread(file.fileno(), 1, at)
                if byte:
                    os.pwrite(file.fileno(), bytes([byte[0] ^ self._rng.randint(1, 255)]), at)
        self.done["flipped"] += 1

    def _cut(self, path: Path) -> None:
        """Shorter, or empty."""
        size = path.stat().st_size
        os.truncate(path, self._rng.choice([0, self._rng.randrange(size + 1), max(size - 1, 0)]))
        self.done["cut"] += 1

    def _remove(self, path: Path) -> None:
        path.unlink()
        self.done["removed"] += 1

    def _remove_all(self, files: list[Path]) -> None:
        """All that is in the folder, or that too."""
        if self._rng.random() < 0.3:
            shutil.rmtree(self.folder, ignore_errors=True)
        for file in files:
            file.unlink(missing_ok=True)
        self.done["all removed"] += 1

    def _zero(self, path: Path) -> None:
        """Zeros in place of some part, or of all; as long as before."""
        with open(path, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            first = self._rng.choice([0, self._rng.randrange(size + 1)])
            length = min(size - first, self._rng.choice([4096, 65536, size]))
            os.pwrite(file.fileno(), bytes(length), first)
        self.done["zeroed"] += 1

    def _grow(self, path: Path) -> None:
        """Something after its end."""
        with open(path, "ab") as file:
            file.write(self._rng.randbytes(self._rng.randint(1, 5000)))
        self.done["grown"] += 1

    def _replace(self, path: Path, other: Path) -> None:
        """What another file holds: written over it, or under its name."""
        if self._rng.random() < 0.5:
            path.write_bytes(other.read_bytes())
        else:
            aside = path.with_name("aside")
            shutil.copyfile(other, aside)
            aside.rename(path)
        self.done["replaced"] += 1
