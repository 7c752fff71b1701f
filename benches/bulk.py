#!/usr/bin/env python3
"""`lodestone import` of a generated `.npy`, over the wire and straight into a bucket: points per second, peak memory, and after `kill -9`."""

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from _bench import LocalStore, binary, parser, report, serving

PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


def write(path: Path, points: int, dimensions: int) -> None:
    """Rows around a thousand centres, as embeddings lie."""
    random = np.random.default_rng(1)
    centres = random.standard_normal((1000, dimensions), dtype=np.float32)
    rows = np.lib.format.open_memmap(path, mode="w+", dtype="<f4", shape=(points, dimensions))
    for start in range(0, points, 10_000):
        part = rows[start : start + 10_000]
        part[:] = centres[random.integers(0, 1000, len(part))]
        part += 0.7 * random.standard_normal(part.shape, dtype=np.float32)
    rows.flush()


def peak(pid: int) -> int:
    """The most memory that a process had, in bytes; 0 once it is gone."""
    try:
        found = PEAK.search(Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) * 1024 if found else 0


def run(npy: Path, *target: object, kill_after: float | None = None) -> dict[str, object]:
    """One import; with `kill_after` it is killed after so many seconds, and run again, which reads every point back at the end."""
    line = [str(binary()), "import", *map(str, target), "--collection", "c", "--distance", "cosine", str(npy)]
    begun, most = time.perf_counter(), 0
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        most = max(most, peak(process.pid))
        if kill_after is not None and time.perf_counter() - begun > kill_after:
            process.kill()
            process.communicate()
            again = run(npy, *target, "--verify")
            assert "read back" in str(again["said"]), again
            return {**again, "peak_mib": max(most >> 20, int(str(again["peak_mib"])))}
        time.sleep(0.02)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    told = " | ".join(line.strip() for line in said.splitlines() if line.strip())
    return {"seconds": round(time.perf_counter() - begun, 1), "peak_mib": most >> 20, "said": told}


def main() -> None:
    options = parser(str(__doc__))
    options.set_defaults(points=200_000)
    options.add_argument("--dimensions", type=int, default=768, help="components of each vector")
    options.add_argument("--kill-after", type=float, default=6.0, help="seconds until the import that is killed is killed")
    options.add_argument("--bucket-only", action="store_true", help="not over the wire")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="lodestone-bulk-") as home:
        npy = Path(home) / "vectors.npy"
        write(npy, arguments.points, arguments.dimensions)
        for kill_after in (None, arguments.kill_after):
            store = LocalStore()
            found = run(npy, *store.arguments(), "--local", f"{store.path}.local", kill_after=kill_after)
            report("import into a bucket", killed=kill_after is not None, points=arguments.points, **found)
            store.close()
            shutil.rmtree(f"{store.path}.local", ignore_errors=True)
        if arguments.bucket_only:
            return
        with serving() as server:
            found = run(npy, "--url", f"http://127.0.0.1:{server.grpc_port}")
            assert server.process is not None
            of_server = peak(server.process.pid) >> 20
            report("import over the wire", points=arguments.points, server_peak_mib=of_server, **found)


if __name__ == "__main__":
    main()
