"""What is in memory together."""

from ann.engines import Engine
from ann.measure import Result, grouped


def sizes(groups):
    return [[result.engine.own_memory for result in group] for group in groups]


def test_groups_fill_memory_in_order():
    results = [Result(Engine("", [], own_memory=share)) for share in (1.0, 0.5, 0.5, 1.2, 3.0, 0.2)]
    assert sizes(grouped(results, 100, 200)) == [[1.0, 0.5, 0.5], [1.2], [3.0], [0.2]]
    assert sizes(grouped(results, 1, 200)) == [[1.0, 0.5, 0.5, 1.2, 3.0, 0.2]]
    assert grouped([], 100, 200) == []
