"""Nearest neighbours against all pairs, in kind and in unkind arrangements."""

from __future__ import annotations

import math
import time

import pytest
import torch

from recon.ops.knn import MAX_NEIGHBOURS, examples, nearest, nearest_squared, reference


def _by_kernel(kernels, points, k=3):
    squared = torch.empty(len(points), k)
    kernels.nearest_others(points, squared)
    return squared


@pytest.mark.parametrize("example", list(examples()))
def test_matches_all_pairs(example, kernels):
    got, want = _by_kernel(kernels, **example), reference(**example)
    assert got.shape == (len(example["points"]), example.get("k", 3))
    torch.testing.assert_close(got.double(), want, rtol=1e-6, atol=0)


def test_public_function_is_the_kernel(kernels):
    points = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(nearest_squared(points, 4), _by_kernel(kernels, points, 4), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("queries", "count", "k"), [(50, 400, 1), (50, 400, 8), (9, 3, 5), (0, 10, 2), (4, 0, 2)])
def test_nearest_to_queries(queries, count, k):
    generator = torch.Generator().manual_seed(1)
    query, points = torch.randn(queries, 3, generator=generator), torch.randn(count, 3, generator=generator)
    squared, index = nearest(query, points, k)
    pairs = (query.double()[:, None] - points.double()).square().sum(-1)
    want, want_index = pairs.sort(1)
    found = min(k, count)
    torch.testing.assert_close(squared[:, :found].double(), want[:, :found], rtol=1e-6, atol=0)
    assert torch.equal(index[:, :found].long(), want_index[:, :found])
    assert (squared[:, found:] == math.inf).all()
    assert (index[:, found:] == -1).all()


def test_a_query_finds_itself():
    points = torch.randn(300, 3, generator=torch.Generator().manual_seed(2))
    squared, index = nearest(points, points)
    assert (squared == 0).all()
    assert torch.equal(index[:, 0], torch.arange(300, dtype=torch.int32))


def test_threads_give_the_same_bits(threads, kernels):
    points = torch.randn(5000, 3, generator=torch.Generator().manual_seed(3))
    results = []
    for n in (1, 2, 3):
        threads(n)
        results.append(_by_kernel(kernels, points))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("kind", ["identical", "outlier", "nested clusters"])
def test_unkind_arrangements_are_not_slow(kind):
    n = 50_000
    points = torch.randn(n, 3, generator=torch.Generator().manual_seed(4))
    if kind == "identical":
        points[:] = 0.25
    elif kind == "outlier":
        points[0] = 1e6
    else:
        points *= torch.logspace(0, -12, n)[:, None]
    start = time.process_time()
    squared = nearest_squared(points)
    assert time.process_time() - start < 2  # 0.1 s alone on a core; all pairs would take minutes
    assert torch.isfinite(squared).all()
    if kind == "identical":
        assert (squared == 0).all()


@pytest.mark.parametrize(("points", "k", "error", "words"), [
    (torch.zeros(4, 3, dtype=torch.float64), 3, TypeError, "points must be float32"),
    (torch.zeros(3, 4).T, 3, ValueError, "points must be contiguous"),
    (torch.zeros(4, 2), 3, ValueError, r"points must be \[n, 3\]"),
    (torch.zeros(4, 3), 0, ValueError, "k must be in"),
    (torch.zeros(4, 3), MAX_NEIGHBOURS + 1, ValueError, "k must be in"),
    (torch.tensor([[0.0, math.nan, 0], [0, 0, 0]]), 1, ValueError, "points must be finite.* 1 rows"),
    (torch.tensor([[0.0, math.inf, 0], [0, 0, 0]]), 1, ValueError, "points must be finite"),
])
def test_bad_arguments_are_named(points, k, error, words):
    with pytest.raises(error, match=words):
        nearest_squared(points, k)


def test_kernels_refuse_and_never_convert(kernels):
    with pytest.raises(TypeError):
        kernels.nearest_others(torch.zeros(4, 3), torch.zeros(4, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="finite"):
        kernels.nearest_others(torch.full((4, 3), math.nan), torch.zeros(4, 3))
