"""Where things are, in a checkout or as the environment says."""

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def server_binary() -> Path:
    """`LODESTONE_BIN`, or the binary that `cargo build -p lodestone-server` leaves."""
    return Path(os.environ.get("LODESTONE_BIN", TARGET / "debug" / "lodestone"))


def minio_binary() -> Path | None:
    """`MINIO_BIN`, what `tests/install` left, or whatever the path has."""
    candidates = [os.environ.get("MINIO_BIN"), str(TARGET / "ci" / "bin" / "minio"), shutil.which("minio")]
    candidates.append(str(Path.home() / "go" / "bin" / "minio"))
    return next((Path(c) for c in candidates if c and Path(c).is_file()), None)


def data_directory() -> Path | None:
    """`LODESTONE_DATA`, or the `data` directory shared beside the checkout, if there is one."""
    candidates = [os.environ.get("LODESTONE_DATA"), ROOT.parent / "shared" / "data"]
    return next((Path(c) for c in candidates if c and (Path(c) / "wordnet-minilm").is_dir()), None)
