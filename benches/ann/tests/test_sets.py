"""Exact answers, the two measures of hardness, and the generator."""

import numpy as np
import pytest

from ann.sets import shape, synthetic, truth


@pytest.fixture
def random():
    return np.random.default_rng(5)


def test_nearest_agrees_with_sorting_everything_across_blocks(random, monkeypatch):
    monkeypatch.setattr(truth, "BLOCK", 64)
    vectors, queries = random.standard_normal((500, 8)), random.standard_normal((20, 8))
    rows, distances = truth.nearest(vectors, queries, 7)
    every = np.linalg.norm(queries[:, None] - vectors[None], axis=2)
    assert (rows == np.argsort(every, axis=1)[:, :7]).all()
    assert np.allclose(distances, np.sort(every, axis=1)[:, :7])


def test_nearest_ranks_bytes_that_single_precision_cannot_tell_apart():
    # Squared distances 1 apart, above the 2^24 up to which a float counts.
    vectors = np.full((3, 1000), 255, dtype=np.uint8)
    vectors[1, 0] = 254
    vectors[2, :2] = 254
    rows, _ = truth.nearest(vectors, np.zeros((1, 1000), dtype=np.uint8), 3)
    assert rows.tolist() == [[2, 1, 0]]


def test_equal_distances_go_by_row(random):
    vectors = np.repeat(random.standard_normal((1, 4)), 50, axis=0)
    assert truth.nearest(vectors, vectors[:1], 10)[0].tolist() == [list(range(10))]


@pytest.mark.parametrize("dimension", [3, 8])
def test_local_dimension_of_a_cube_is_its_dimension(random, dimension):
    # In the middle of the cube, away from its faces, and turned into a larger space.
    cube = random.random((40_000, dimension)) - 0.5
    basis = np.linalg.qr(random.standard_normal((24, dimension)))[0]
    inner = cube[np.abs(cube).max(axis=1) < 0.25][:300]
    _, distances = truth.nearest(cube @ basis.T, inner @ basis.T, 51)
    assert shape.local_dimension(distances[:, 1:]) == pytest.approx(dimension, rel=0.08)


def test_contrast_is_mean_over_nearest():
    assert shape.contrast(np.array([1.0, 3.0]), np.array([4.0, 8.0])) == 3


def test_generated_rows_repeat_and_are_of_unit_length():
    first, second = synthetic.Mixture(5000), synthetic.Mixture(5000)
    rows = first.rows(3, 100)
    assert np.array_equal(rows, second.rows(3, 100))
    assert not np.array_equal(rows, first.rows(4, 100))
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_generated_queries_lie_off_the_data():
    mixture = synthetic.Mixture(10_000)
    rows = np.concatenate([mixture.rows(block, 2500) for block in range(4)])
    found = shape.measure(rows, mixture.queries(300))
    assert found["queries"]["local_dimension"] > 1.2 * found["data"]["local_dimension"]
    assert found["queries"]["contrast"] < 0.9 * found["data"]["contrast"]
