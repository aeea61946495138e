"""A self-join finds the pairs that comparing everything with everything finds, nearly all of them by lists."""

from __future__ import annotations

import numpy as np
import pytest
from embedding_tables import clustered, unit

from vidray.index import join
from vidray.index.join import self_join

K, LEAST = 5, 0.6


def units(rows: int, dim: int, seed: int) -> np.ndarray:
    return unit(clustered(rows, dim, seed=seed)).astype(np.float16)


def pairs_of(vectors: np.ndarray) -> dict[tuple[int, int], float]:
    scores = vectors.astype(np.float32) @ vectors.astype(np.float32).T
    np.fill_diagonal(scores, -np.inf)
    best = np.argsort(-scores, axis=1)[:, :K]
    found = ((row, int(other)) for row, others in enumerate(best) for other in others if scores[row, other] >= LEAST)
    return {(min(pair), max(pair)): float(scores[pair]) for pair in found}


def test_few_vectors_are_compared_each_with_each() -> None:
    vectors = units(500, 32, 1)
    one, other, scores = self_join(vectors, k=K, least=LEAST)
    truth = pairs_of(vectors)
    found = dict(zip(zip(one.tolist(), other.tolist(), strict=True), scores.tolist(), strict=True))
    assert found.keys() == truth.keys()
    assert (one < other).all()
    assert found == pytest.approx(truth, abs=1e-5)


def test_many_are_by_lists_and_hardly_a_pair_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "EXACT_ROWS", 1000)
    vectors = units(4000, 32, 2)
    one, other, scores = self_join(vectors, k=K, least=LEAST)
    truth, found = pairs_of(vectors), set(zip(one.tolist(), other.tolist(), strict=True))
    assert len(found & truth.keys()) >= 0.98 * len(truth)
    products = np.einsum("ij,ij->i", vectors[one].astype(np.float32), vectors[other].astype(np.float32))
    assert scores == pytest.approx(products, abs=1e-5)
    assert len(found) == len(one)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_so_few_that_there_are_no_k_neighbours(rows: int) -> None:
    one, other, _ = self_join(np.eye(4, dtype=np.float16)[[0, 0, 1][:rows]], k=K, least=LEAST)
    assert list(zip(one.tolist(), other.tolist(), strict=True)) == ([(0, 1)] if rows > 1 else [])
