"""Forecasts of a hierarchy that add up, against worked examples and their definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast.data.hierarchy import summing_matrix
from forecast.forecaster.reconciliation import (
    bottom_up,
    learn_reconciliation,
    minimum_trace,
    reconcile,
    reconcile_forecasts,
    shrunk_covariance,
)
from forecast.system.errors import ModelError

NAMES = ["A", "A/A", "A/B", "A/C", "B", "B/A", "B/B", "total"]
"""Figure 11.1 of Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd edition."""


def test_bottom_up_is_the_matrix_of_the_book() -> None:
    """G = [0 | I]: the series stay, and the sums are theirs (section 11.3 of the book)."""
    base = np.array([[10.0], [1], [2], [3], [20], [4], [5], [99]])
    assert bottom_up(base, NAMES)[:, 0].tolist() == [6, 1, 2, 3, 9, 4, 5, 15]


def test_equal_variances_give_the_least_squares_weights_worked_out_by_hand() -> None:
    """P = (S'S)^-1 S' (Hyndman et al. 2011). Of one sum of two series, (S'S)^-1 = 1/3 [2 -1; -1 2].

    Of the book's tree S'S = I + J within A and B + 1 over all; what its inverse gives is exact.
    """
    summing, _ = summing_matrix(["A", "B", "total"])
    weights = minimum_trace(summing, np.eye(3))
    np.testing.assert_allclose(3 * weights, [[2, -1, 1], [-1, 2, 1]], atol=1e-12)
    summing, places = summing_matrix(NAMES)
    square = np.eye(5) + 1
    square[:3, :3] += 1
    square[3:, 3:] += 1
    assert (summing.T @ summing).tolist() == square.tolist()
    weights = minimum_trace(summing, np.eye(8))
    np.testing.assert_allclose(square @ weights, summing.T, atol=1e-12)
    whole = summing @ weights
    assert round(whole[7, 7], 4) == round(17 / 29, 4), "weight of the total in itself: 17 / 29"
    np.testing.assert_allclose(weights @ summing, np.eye(5), atol=1e-12)
    assert whole.trace() == pytest.approx(len(places)), "a projection onto five series"


PEER_NAMES = ["total", "A", "B", "A/1", "A/2", "B/3", "B/4"]
PEER_ERRORS = np.array(
    [
        [9, -2, 4, 1, -3, 2, 0],
        [-5, 3, -4, -2, 4, -1, -1],
        [4, -6, 7, -3, -1, 5, 3],
        [-8, 1, -9, 2, 0, -6, -2],
        [2, 5, -1, 4, -2, -1, 2],
        [-6, -4, 1, -3, -1, 0, 1],
        [3, 7, -2, 2, 5, -2, -3],
        [1, -4, 4, -1, -4, 3, 0],
    ],
    dtype=float,
)
"""Of one step of eight cutoffs: actual less forecast."""


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("ols", [1007.1429, 405.2381, 601.9048, 157.619, 247.619, 310.9524, 290.9524]),
        ("wls_struct", [1000.0, 400.0, 600.0, 155.0, 245.0, 310.0, 290.0]),
        ("wls_var", [1001.3736, 399.701, 601.6726, 153.8804, 245.8206, 311.239, 290.4336]),
        ("mint_shrink", [995.7041, 401.5934, 594.1107, 151.2535, 250.3399, 305.7714, 288.3393]),
    ],
)
def test_forecasts_are_those_of_hierarchicalforecast(method: str, expected: list[float]) -> None:
    """`MinTrace(method).fit_predict` of its version 1.5.3, whose `mint_shrink` takes the covariance
    about the mean of the errors.
    """
    base = np.array([1020.0, 400, 590, 150, 240, 310, 290])
    summing, _ = summing_matrix(PEER_NAMES)
    covariance = {
        "ols": np.eye(7),
        "wls_struct": np.diag(summing.sum(axis=1)),
        "wls_var": np.diag((PEER_ERRORS**2).mean(axis=0)),
        "mint_shrink": shrunk_covariance(PEER_ERRORS - PEER_ERRORS.mean(axis=0)),
    }[method]
    reconciled = reconcile(base, PEER_NAMES, minimum_trace(summing, covariance), minimum=None)
    np.testing.assert_allclose(reconciled, expected, atol=5e-5)


def test_the_shrinkage_is_that_of_schaefer_and_strimmer_in_numbers() -> None:
    """Two errors with variances 1 and 4: correlation 0.5, its variance 1 / 4, so intensity 1."""
    errors = np.array([[1.0, 2], [1, 2], [-1, -2], [1, -2]])
    # products of scaled errors: 1, 1, 1, -1: mean 0.5, sum of squared deviations 3, 3 / (4 * 3)
    np.testing.assert_allclose(shrunk_covariance(errors), [[1, 0], [0, 4]])
    repeated = np.tile(errors, (10, 1))
    # 30 / (40 * 39) / 0.25 = 1 / 13 of the correlation goes
    np.testing.assert_allclose(shrunk_covariance(repeated), [[1, 12 / 13], [12 / 13, 4]])


def test_of_more_series_than_errors_the_covariance_can_be_inverted() -> None:
    errors = np.random.default_rng(0).standard_normal((5, 8))
    assert np.linalg.eigvalsh(shrunk_covariance(errors)).min() > 0


def test_errors_that_are_all_zero_have_the_weights_of_least_squares() -> None:
    summing, _ = summing_matrix(["a", "b", "total"])
    weights = minimum_trace(summing, shrunk_covariance(np.zeros((5, 3))))
    np.testing.assert_allclose(weights, np.linalg.pinv(summing))


def test_known_covariance_beats_bottom_up_and_least_squares_on_every_level() -> None:
    """Correlated errors of one covariance: minimum trace has the least error of all."""
    rng = np.random.default_rng(1)
    summing, _ = summing_matrix(NAMES)
    mixing = rng.standard_normal((8, 8))
    covariance = mixing @ mixing.T + np.diag([3.0, 1, 1, 1, 3, 1, 1, 9])
    errors = rng.multivariate_normal(np.zeros(8), covariance, size=20_000)
    actual = summing @ rng.standard_normal((5, 20_000))
    base = actual + errors.T

    def variance(forecasts: np.ndarray) -> float:
        return float(((forecasts - actual) ** 2).mean(axis=1).sum())

    mint = reconcile(base, NAMES, minimum_trace(summing, covariance), None)
    least_squares = reconcile(base, NAMES, minimum_trace(summing, np.eye(8)), None)
    assert variance(mint) < variance(least_squares)
    assert variance(mint) < variance(bottom_up(base, NAMES))
    expected = np.trace(
        summing @ np.linalg.inv(summing.T @ np.linalg.inv(covariance) @ summing) @ summing.T
    )
    assert variance(mint) == pytest.approx(expected, rel=0.03), "tr S (S' W^-1 S)^-1 S'"


def forecasts_of(names: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    parts = []
    for block, first in (("validation", 0), ("test", 40)):
        for cutoff in range(first, first + 20):
            for step in (1, 2):
                table = {
                    "unique_id": names,
                    "y": 10.0,
                    "y_hat": 10 + rng.standard_normal(len(names)),
                }
                parts.append(
                    pd.DataFrame({**table, "cutoff": cutoff, "step": step, "block": block})
                )
    return pd.concat(parts, ignore_index=True)


def test_later_blocks_are_coherent_and_validation_keeps_what_the_weights_were_learnt_from() -> None:
    table = forecasts_of(NAMES).sample(frac=1, random_state=0)
    coherent = reconcile_forecasts(table, learn_reconciliation(table), None)
    assert coherent.index.equals(table.index)
    validation = coherent[coherent["block"] == "validation"]
    assert validation["y_hat"].equals(validation["base"])
    test_rows = coherent[coherent["block"] == "test"]
    wide = test_rows.pivot(index=["cutoff", "step"], columns="unique_id", values="y_hat")
    np.testing.assert_allclose(wide["total"], wide["A"] + wide["B"])
    np.testing.assert_allclose(wide["B"], wide["B/A"] + wide["B/B"])
    assert not np.allclose(test_rows["y_hat"], test_rows["base"])


def test_a_bound_holds_for_series_and_sums_together() -> None:
    base = np.array([[-5.0], [-9], [1], [1], [2], [1], [1], [-3]])
    summing, _ = summing_matrix(NAMES)
    values = reconcile(base, NAMES, minimum_trace(summing, np.eye(8)), 0.0)[:, 0]
    assert values.min() == 0
    assert values[7] == pytest.approx(values[[1, 2, 3, 5, 6]].sum())


def test_a_validation_block_without_complete_rows_is_refused() -> None:
    table = forecasts_of(NAMES)
    table.loc[table["unique_id"] == "B/A", "y"] = np.nan
    with pytest.raises(ModelError, match="0 pairs of cutoff and step of the validation block"):
        learn_reconciliation(table)
