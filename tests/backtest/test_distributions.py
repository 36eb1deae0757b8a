"""From a head's forecasts to its table and its scores: each number against its own formula on the
same origins.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from forecast.backtest.backtest import forecast_blocks, forecast_distributions
from forecast.comparison import metrics
from forecast.comparison.distribution_scores import COLUMNS, DISTRIBUTIONS_FILE, distribution_scores
from forecast.config.paths import ProjectPaths
from forecast.data.results import Results
from forecast.forecaster import sample_paths
from forecast.forecaster.distributions import EVEN_QUANTILES, STORED_QUANTILES, quantile_column
from forecast.system import files
from forecast.system.errors import ModelError
from tests.contract import heads
from tests.contract.families import forecaster as point_forecaster
from tests.support import problems
from tests.support.records import run_record

SHOPS = problems.shops()


def single(forecaster):
    """A timeline of one fit."""
    return problems.single_fit(forecaster, SHOPS.panel)


def distributions(family, head, seed=0):
    model = heads.forecaster(family, head, stirred=1.0 + 0.1 * seed)
    return forecast_distributions(
        single(model),
        SHOPS,
        forecast_blocks(single(model), SHOPS, seed),
        seed=seed,
    )


def lasts():
    frame = problems.frame().set_index("ds")
    return {
        f"{uid}/{target}": rows[target].ffill()
        for uid, rows in frame.groupby("unique_id")
        for target in ("sales", "price")
    }


@pytest.fixture(scope="module")
def scored_table(tmp_path_factory):
    """The scores of a gaussian with two seeds and of an up/down head, beside a point model without
    a table.
    """
    results = Results(ProjectPaths.of(tmp_path_factory.mktemp("project")), "shops")
    tables = {
        "gru.linear": [distributions("gru", "gaussian", s) for s in (0, 1)],
        "updown.linear": [distributions("gru", "updown")],
    }
    for name, parts in tables.items():
        files.write_frame(
            results.folder(name) / DISTRIBUTIONS_FILE, pd.concat(parts, ignore_index=True)
        )
    for name, kind in (
        ("gru.linear", "gaussian"),
        ("updown.linear", "updown"),
        ("plain.linear", "point"),
    ):
        record = run_record(name, params={"head": {"kind": kind}})
        record.write(results.folder(name) / "record.json")
    return distribution_scores(results, lasts(), (80, 95, 99)), tables


def value(table, metric, *, model="gru", series="north/sales", level=None):
    rows = table[(table.model == model) & (table.series == series) & (table.metric == metric)]
    (value_of_row,) = rows.loc[rows.level.isna() if level is None else rows.level == level, "value"]
    return value_of_row


def block(part, uid="north", output="sales"):
    return part[(part.block == "test") & (part.unique_id == uid) & (part.output == output)]


def test_a_point_model_leaves_no_table():
    assert (
        forecast_distributions(
            single(point_forecaster("gru", "linear")),
            SHOPS,
            pd.DataFrame(),
            seed=0,
        )
        is None
    )


def test_the_table_has_the_rows_of_the_forecasts_and_its_median_is_the_forecast():
    model = heads.forecaster("gru", "gaussian")
    forecasts = forecast_blocks(single(model), SHOPS, 0)
    table = forecast_distributions(single(model), SHOPS, forecasts, seed=0)
    keys = ["unique_id", "cutoff", "step", "ds", "block", "seed", "output", "y"]
    pd.testing.assert_frame_equal(table[keys].reset_index(drop=True), forecasts[keys])
    np.testing.assert_allclose(table["q_0.5"], forecasts["y_hat"], rtol=1e-6)
    assert list(table.columns[len(keys) :]) == [
        "p_rise",
        *map(quantile_column, STORED_QUANTILES),
        "log_density",
    ]
    columns = [quantile_column(probability) for probability in STORED_QUANTILES]
    assert (np.diff(table[columns], axis=1) > 0).all()


def test_a_recursive_table_is_read_off_paths_that_feed_back_what_was_drawn():
    model, rows = heads.forecaster("narx", "bins"), SHOPS.rows("north", "test")
    table = block(distributions("narx", "bins"))
    paths = sample_paths(model, SHOPS.panel, {"north": rows}, 200, seed=0)["north"][..., 0]
    np.testing.assert_allclose(table["q_0.1"], np.quantile(paths, 0.1, axis=1).ravel())
    assert table["log_density"].isna().all()


def test_an_up_down_head_has_a_probability_alone():
    table = distributions("gru", "updown")
    assert (
        not [c for c in table if c.startswith("q_") or c == "log_density"]
        and table["p_rise"].between(0, 1).all()
    )


def test_every_number_is_the_mean_over_the_seeds_of_its_metric_on_the_test_block(scored_table):
    table, parts = scored_table
    seeds = [block(part) for part in parts["gru.linear"]]

    def mean_of(score):
        each = [score(rows) for rows in seeds]
        assert each[0] != each[1]
        return pytest.approx(np.mean(each))

    def missed(rows):
        y, low, high = rows["y"], rows["q_0.025"], rows["q_0.975"]
        return (np.maximum(low - y, 0) + np.maximum(y - high, 0))[y.notna()]

    for p in STORED_QUANTILES:
        expected = mean_of(lambda r: metrics.pinball(r["y"], r[quantile_column(p)], p))  # noqa: B023
        assert value(table, "pinball", level=round(100 * p, 1)) == expected
    grid = [quantile_column(p) for p in EVEN_QUANTILES]
    assert value(table, "crps") == mean_of(
        lambda rows: metrics.crps_quantiles(rows["y"], rows[grid].to_numpy(), EVEN_QUANTILES)
    )
    covered = np.mean([(missed(rows) == 0).mean() for rows in seeds])
    assert value(table, "coverage", level=95) == pytest.approx(covered)
    assert value(table, "winkler", level=95) == mean_of(
        lambda rows: (rows["q_0.975"] - rows["q_0.025"] + 40 * missed(rows)).mean()
    )
    assert value(table, "width", level=80) == mean_of(
        lambda rows: (rows["q_0.9"] - rows["q_0.1"]).mean()
    )


def test_the_log_score_is_that_of_the_normal_in_the_unit_of_the_data(scored_table):
    """A normal in log price is a log-normal price: its density divides by the price."""
    table, parts = scored_table
    expected = []
    for part in parts["gru.linear"]:
        rows = block(part, output="price")
        logs = np.log(rows[["q_0.1", "q_0.5", "q_0.9"]].to_numpy())
        scale = (logs[:, 2] - logs[:, 0]) / (2 * 1.2815515655446004)
        y = np.log(rows["y"].to_numpy())
        expected.append(y.mean() - stats.norm.logpdf(y, logs[:, 1], scale).mean())
    assert value(table, "log_score", series="north/price") == pytest.approx(
        np.mean(expected), rel=1e-6
    )


def test_rises_are_judged_by_their_probability(scored_table):
    table, parts = scored_table
    rows = block(parts["updown.linear"][0])
    last = lasts()["north/sales"].reindex(rows["cutoff"]).to_numpy()
    y, p = rows["y"].to_numpy(), rows["p_rise"].to_numpy()
    known = np.isfinite(y) & (y != last)
    rose = (y > last)[known]
    assert value(table, "brier", model="updown") == pytest.approx(np.mean((p[known] - rose) ** 2))
    assert value(table, "rise_rate", model="updown") == pytest.approx(rose.mean())


def test_an_interval_between_quantiles_that_are_not_kept_has_no_value(scored_table):
    assert np.isnan(value(scored_table[0], "coverage", level=99))


def test_without_heads_the_table_has_its_columns_and_no_rows(tmp_path):
    results = Results(ProjectPaths.of(tmp_path), "shops")
    run_record("naive").write(results.folder("naive") / "record.json")
    empty = distribution_scores(results, {}, (80,))
    assert list(empty.columns) == list(COLUMNS) and empty.empty


def test_paths_that_diverge_are_a_failed_model():
    calm, wild = (
        heads.forecaster("narx", "gaussian"),
        heads.forecaster("narx", "gaussian", stirred=1e30),
    )
    with pytest.raises(
        ModelError,
        match="Quantiles of series 'north' are not finite: the paths of the model diver",
    ):
        forecast_distributions(
            single(wild),
            SHOPS,
            forecast_blocks(single(calm), SHOPS, 0),
            seed=0,
        )
