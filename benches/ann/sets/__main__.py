"""Prepares data sets and prints how hard each is: `python -m ann.sets [--points N] [NAME ...]`."""

import argparse

from .prepare import NAMES, prepared

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NAMES)}; all unless given")
options.add_argument("--points", type=int, default=1_000_000, help="size of the synthetic set")
chosen = options.parse_args()
for name in chosen.names or NAMES:
    folder = prepared(name, chosen.points, print)
    for what, figures in folder.about["shape"].items():
        print(f"{folder.name:22} {what:8} local dimension {figures['local_dimension']:6.2f}  contrast {figures['contrast']:6.3f}")
