"""What is measured: command lines, and the efforts that each is tried with."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .sets.prepare import TARGET

BEAMS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
"""Beam widths, from least effort to most."""
OUR_BEAMS = [
    *[2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384],
    *[512, 768, 1024, 1536, 2048],
]
"""The same in Lodestone's own measure of effort, with finer steps."""
PROBES = [4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384]
"""Inverted lists to look into."""

SMALL = {"spill": "0", "list_rows": "100"}
"""The index of vectors on disk."""

Effort = dict[str, Any]
"""What one search request carries beside its slice."""


@dataclass
class Engine:
    """One line of the table."""

    name: str
    command: list[str]
    settings: dict[str, str] = field(default_factory=dict)
    ladders: list[list[Effort]] = field(default_factory=lambda: _ladder(BEAMS))
    """Each from least effort to most: climbing one stops where recall no longer grows."""
    short: bool = True
    """Whether the short mode has it."""
    ours: bool = False
    own_memory: float = 1.2
    """About how much memory a search keeps, as a share of the vectors in single precision."""


def _ladder(steps: list[int], **also: Any) -> list[list[Effort]]:
    return [[{"ef": step, **also} for step in steps]]


def _oversampled(steps: list[int], factors: list[float]) -> list[list[Effort]]:
    return [ladder for factor in factors for ladder in _ladder(steps, oversampling=factor)]


def lodestone_binary() -> Path:
    """`LODESTONE_ANN_BIN`, or where a release build leaves it."""
    return Path(os.environ.get("LODESTONE_ANN_BIN", TARGET / "release" / "examples" / "ann"))


def _peer(name: str) -> list[str]:
    return [sys.executable, "-m", "ann.worker", name]


def in_process(name: str, settings: dict[str, str]) -> Engine:
    """Lodestone as a library."""
    return Engine(f"lodestone {name}", [str(lodestone_binary())], settings, _ladder(OUR_BEAMS), ours=True, own_memory=1.3)


def every(variants: list[Engine]) -> list[Engine]:
    """All engines, Lodestone's first: as it is by default, for vectors on disk, and with these there, or these variants in their place."""
    return [
        *(variants or [in_process("default", {}), in_process("small", SMALL), in_process("on disk", {**SMALL, "disk": "1"})]),
        Engine("lodestone gRPC", _peer("lodestone-server"), short=False, ours=True, own_memory=1.5),
        Engine("hnswlib", _peer("hnswlib")),
        Engine("faiss HNSW flat", _peer("faiss-hnsw")),
        Engine("faiss HNSW SQ8", _peer("faiss-hnsw"), {"codec": "8bit"}, own_memory=0.4),
        Engine(
            "faiss IVF-PQ fast scan",
            _peer("faiss-ivfpq"),
            ladders=_oversampled(PROBES, [5, 20]),
            own_memory=1.2,
        ),
        Engine("usearch f32", _peer("usearch"), short=False),
        Engine("usearch i8", _peer("usearch"), {"dtype": "i8"}, own_memory=0.4),
        Engine("qdrant f32", _peer("qdrant")),
        Engine(
            "qdrant int8", _peer("qdrant"), {"codec": "int8"}, _oversampled(BEAMS, [1.0, 2.0, 4.0]), own_memory=1.4
        ),
        Engine(
            "qdrant turbo 4-bit",
            _peer("qdrant"),
            {"codec": "turbo4"},
            _oversampled(BEAMS, [1.0, 2.0, 4.0]),
            short=False,
            own_memory=1.3,
        ),
    ]
