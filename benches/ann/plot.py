"""Recall against queries per second, one picture per data set."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402


def draw(found: dict[str, Any], path: Path) -> None:
    """One panel per number of threads; Lodestone's lines are thick."""
    measured = [engine for engine in found["engines"] if "frontier" in engine]
    threads = list(measured[0]["frontier"]) if measured else []
    if not threads:
        return
    figure, panels = pyplot.subplots(1, len(threads), figsize=(6.5 * len(threads), 5), sharey=True, squeeze=False)
    colors = pyplot.get_cmap("tab20").colors
    for panel, t in zip(panels[0], threads, strict=True):
        for number, engine in enumerate(measured):
            if engine["frontier"][t]:
                recalls, speeds = zip(*engine["frontier"][t], strict=True)
                width = 2.6 if engine["ours"] else 1.1
                panel.plot(recalls, speeds, marker=".", linewidth=width, color=colors[number % 20], label=engine["name"])
        panel.set_yscale("log")
        panel.set_xlabel("recall@10")
        panel.set_title(f"{found['set']['name']}, {t} thread{'s' if t != '1' else ''}")
        panel.grid(which="both", alpha=0.25)
    panels[0][0].set_ylabel("queries per second")
    panels[0][-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
