"""Reading speeds off curves."""

import math

import numpy as np
import pytest

from ann.curve import frontier, recall, speed_at


def test_recall_counts_each_true_neighbour_once():
    neighbors = np.array([[1, 2, 3, 9], [4, 5, 6, 9]])
    assert recall(np.array([[3, 1, 9], [7, -1, 8]]), neighbors) == pytest.approx(2 / 6)


def test_the_frontier_leaves_out_what_is_beaten():
    points = [(0.9, 100), (0.95, 120), (0.95, 80), (0.99, 50), (0.97, 40)]
    assert frontier(points) == [(0.95, 120), (0.99, 50)]


def test_speed_between_two_points_is_their_geometric_mean_half_way():
    points = [(0.94, 4000), (0.96, 1000)]
    assert speed_at(points, 0.95) == pytest.approx(2000)
    assert speed_at(points, 0.96) == 1000


def test_speed_outside_of_the_curve():
    points = [(0.96, 1000), (0.98, 500)]
    assert speed_at(points, 0.95) == 1000
    assert speed_at(points, 0.99) is None
    assert speed_at([], 0.5) is None


def test_a_slow_point_of_low_recall_does_not_pull_the_curve_down():
    assert speed_at([(0.94, 10), (0.96, 1000)], 0.95) == 1000


def test_interpolation_is_linear_in_the_logarithm():
    found = speed_at([(0.9, 1000), (1.0, 10)], 0.925)
    assert found and math.log10(found) == pytest.approx(2.5)
