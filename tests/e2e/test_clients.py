"""Official clients in other languages, each with a test of its own, against one server."""

import os
import subprocess
from pathlib import Path

import pytest

from harness.paths import ROOT
from harness.server import Server


def run(command: list[str], directory: Path, server: Server) -> None:
    """Runs another language's test runner with the server's addresses in the environment."""
    environment = os.environ | {
        "LODESTONE_URL": server.url,
        "LODESTONE_GRPC_URL": f"http://127.0.0.1:{server.grpc_port}",
    }
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]


def test_javascript(shared_server: Server) -> None:
    directory = ROOT / "tests" / "js"
    if not (directory / "node_modules").is_dir():
        pytest.fail("no JavaScript client: run tests/install")
    run(["node", "--test"], directory, shared_server)
