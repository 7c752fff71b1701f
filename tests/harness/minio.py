"""A MinIO process on loopback with a directory of its own."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

from .paths import minio_binary
from .ports import free_ports
from .s3 import S3

ACCESS_KEY, SECRET_KEY = "lodestone-test", "lodestone-test-secret"


class Minio:
    """Started by the constructor, gone after `stop`."""

    def __init__(self) -> None:
        binary = minio_binary()
        if binary is None:
            raise FileNotFoundError("no MinIO: run tests/install, or set MINIO_BIN")
        self._directory = Path(tempfile.mkdtemp(prefix="minio-"))
        port, console = free_ports(2)
        self.endpoint = f"http://127.0.0.1:{port}"
        environment = os.environ | {
            "MINIO_ROOT_USER": ACCESS_KEY,
            "MINIO_ROOT_PASSWORD": SECRET_KEY,
            "MINIO_UPDATE": "off",
            "MINIO_CALLHOME_ENABLE": "off",
        }
        self._log = open(self._directory / "log", "wb")
        (self._directory / "data").mkdir()
        self.process = subprocess.Popen(
            [str(binary), "server", str(self._directory / "data"), "--address", f"127.0.0.1:{port}"]
            + ["--console-address", f"127.0.0.1:{console}", "--quiet", "--anonymous"],
            env=environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self.s3 = S3(self.endpoint, ACCESS_KEY, SECRET_KEY)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.endpoint}/minio/health/ready", trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        log = (self._directory / "log").read_text(errors="replace")
        self.stop()
        raise RuntimeError(f"MinIO did not start:\n{log[-2000:]}")

    def stop(self) -> None:
        """Ends the process and removes its data."""
        self.process.kill()
        self.process.wait()
        self._log.close()
        shutil.rmtree(self._directory, ignore_errors=True)
