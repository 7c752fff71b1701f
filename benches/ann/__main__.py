"""Lodestone beside its peers: a table, `results.json` and a plot per data set."""

import argparse
import json
import sys
from pathlib import Path

from . import plot, report
from .engines import Engine, every, in_process
from .measure import Plan, Run
from .sets.prepare import CACHE, NAMES, prepared


def say(text: str) -> None:
    """Progress goes to stderr, tables to stdout."""
    print(text, file=sys.stderr, flush=True)


def options() -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser(prog="benches/ann/run", description=__doc__)
    made.add_argument("--short", action="store_true", help="fewer engines, efforts and rounds; 200,000 synthetic rows")
    made.add_argument("--sets", nargs="+", choices=NAMES, default=NAMES, help="data sets")
    made.add_argument("--engines", nargs="+", metavar="NAME", help="engines whose names contain one of these")
    made.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME:KEY=VALUE,...",
        help="Lodestone in process with these settings, in place of its usual two; repeats",
    )
    made.add_argument("--points", type=int, help="rows of the synthetic set")
    made.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="search threads; building has the most of them")
    made.add_argument("--rounds", type=int, help="turns of each engine")
    made.add_argument("--rebuild", action="store_true", help="build the peers' indexes though they are kept")
    made.add_argument("--build-only", action="store_true", help="build and keep the indexes, measure nothing")
    made.add_argument("--out", type=Path, default=CACHE / "out", help="folder of results and plots")
    return made.parse_args()


def chosen(names: list[str] | None, short: bool, variants: list[Engine]) -> list[Engine]:
    """Engines by parts of their names, or those of the mode."""
    known = every(variants)
    if names is None:
        return [engine for engine in known if engine.short or not short]
    return [engine for engine in known if any(name.lower() in engine.name.lower() for name in names)]


def variant(text: str) -> Engine:
    """`NAME:KEY=VALUE,...` as an engine."""
    name, _, settings = text.partition(":")
    return in_process(name, dict(pair.split("=", 1) for pair in settings.split(",") if pair))


def main() -> None:
    """Measures set after set."""
    given = options()
    short = given.short
    plan = Plan(
        threads=given.threads,
        rounds=0 if given.build_only else given.rounds or (3 if short else 5),
        slice_seconds=0.1 if short else 0.3,
        rebuild=given.rebuild,
        stride=2 if short else 1,
    )
    points = given.points or (200_000 if short else 1_000_000)
    engines = chosen(given.engines, short, [variant(text) for text in given.variant])
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.sets:
        folder = prepared(name, points, say)
        say(f"--- {folder.name}")
        results = Run(folder, plan, say).measure(engines)
        if given.build_only:
            continue
        found = report.summary(folder, results, given.threads)
        (given.out / f"{folder.name}.json").write_text(json.dumps(found, indent=1) + "\n")
        plot.draw(found, given.out / f"{folder.name}.svg")
        print(report.table(found) + "\n", flush=True)


if __name__ == "__main__":
    main()
