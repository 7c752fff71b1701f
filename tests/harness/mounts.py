"""Small and read-only file systems, where the tests may mount them."""

import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path


class MountRefused(RuntimeError):
    """Mounting is not allowed here; the message says why."""


class SmallDisk:
    """A file system in memory of so many MiB."""

    def __init__(self, megabytes: int) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="lodestone-disk-"))
        try:
            _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(self.path))
        except MountRefused:
            self.path.rmdir()
            raise

    def resize(self, megabytes: int) -> None:
        """Makes room."""
        _mount("-o", f"remount,size={megabytes}m", str(self.path))

    def fill(self) -> None:
        """Leaves no room."""
        with suppress(OSError), open(self.path / "ballast", "ab", buffering=0) as ballast:
            while True:
                ballast.write(bytes(1 << 16))

    def release(self) -> None:
        """Makes that room again."""
        (self.path / "ballast").unlink(missing_ok=True)

    def set_writable(self, writable: bool) -> None:
        """Makes the file system read-only, or writable again."""
        _mount("-o", f"remount,{'rw' if writable else 'ro'}", str(self.path))

    def close(self) -> None:
        """Unmounts it; what it held is gone."""
        subprocess.run(["umount", "-l", str(self.path)], check=False)
        shutil.rmtree(self.path, ignore_errors=True)


def _mount(*arguments: str) -> None:
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise MountRefused(str(error)) from None
    if done.returncode != 0:
        raise MountRefused(done.stderr.strip())
