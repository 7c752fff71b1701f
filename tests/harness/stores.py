"""Where a server keeps its data: a directory used as a bucket, or a bucket in MinIO."""

import shutil
import tempfile
import uuid
from pathlib import Path

from .minio import ACCESS_KEY, SECRET_KEY, Minio


class LocalStore:
    """A fresh directory."""

    kind = "local"

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or Path(tempfile.mkdtemp(prefix="lodestone-store-"))

    def arguments(self) -> list[str]:
        """What the command line says about the store."""
        return ["--store", str(self.path)]

    def environment(self) -> dict[str, str]:
        """What the environment says about it."""
        return {}

    def objects(self) -> dict[str, int]:
        """Every object with its size; not what a killed writer left half-written, which a later start sweeps."""
        found: dict[str, int] = {}
        for path in self.path.rglob("*"):
            key = str(path.relative_to(self.path))
            try:
                if path.is_file() and not key.startswith(".staging/"):
                    found[key] = path.stat().st_size
            except FileNotFoundError:
                pass  # collected between the listing and the look
        return found

    def read(self, key: str) -> bytes:
        """An object's bytes."""
        return (self.path / key).read_bytes()

    def write(self, key: str, body: bytes) -> None:
        """Replaces an object, for tests that damage one."""
        (self.path / key).write_bytes(body)

    def remove(self, key: str) -> None:
        """Removes an object, for tests that damage the store."""
        (self.path / key).unlink()

    def close(self) -> None:
        """Removes everything."""
        shutil.rmtree(self.path, ignore_errors=True)


class MinioStore:
    """A fresh bucket."""

    kind = "minio"

    def __init__(self, minio: Minio, *, secret_key: str = SECRET_KEY, endpoint: str | None = None) -> None:
        self._minio = minio
        self._secret_key = secret_key
        self.endpoint = endpoint or minio.endpoint
        self.bucket = f"t{uuid.uuid4().hex[:16]}"
        self.prefix = "data"
        minio.s3.make_bucket(self.bucket)

    def arguments(self) -> list[str]:
        """What the command line says about the store."""
        return ["--store", f"s3://{self.bucket}/{self.prefix}", "--s3-endpoint", self.endpoint]

    def environment(self) -> dict[str, str]:
        """What the environment says about it."""
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": self._secret_key}
        return keys | {"AWS_REGION": "us-east-1"}

    def objects(self) -> dict[str, int]:
        """Every object with its size."""
        start = len(self.prefix) + 1
        return {key[start:]: size for key, size in self._minio.s3.list(self.bucket, f"{self.prefix}/").items()}

    def read(self, key: str) -> bytes:
        """An object's bytes."""
        return self._minio.s3.get(self.bucket, f"{self.prefix}/{key}")

    def write(self, key: str, body: bytes) -> None:
        """Replaces an object, for tests that damage one."""
        self._minio.s3.put(self.bucket, f"{self.prefix}/{key}", body)

    def remove(self, key: str) -> None:
        """Removes an object, for tests that damage the store."""
        self._minio.s3.delete(self.bucket, f"{self.prefix}/{key}")

    def close(self) -> None:
        """Removes every object and the bucket."""
        self._minio.s3.remove_bucket(self.bucket)


Store = LocalStore | MinioStore
