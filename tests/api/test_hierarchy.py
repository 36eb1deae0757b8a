"""Sums of shops and regions from Python, from YAML, in the comparison and in service."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import forecast
from forecast.api.board import Board
from forecast.data.panel import from_frame
from forecast.data.results import Results
from forecast.forecaster.ensemble import load_trained_ensemble
from forecast.forecaster.forecaster import Forecaster
from forecast.operations import predicting, refit
from forecast.operations.predicting import read_newest_frame
from forecast.report import score_tables
from forecast.system import files
from forecast.system.errors import InputError
from pipelines import compare
from tests.support.frame_project import NAME, SPLITS, trained

SPANS = {"horizon": 2, "lookback": 8, "season_length": 1}
GROUPS = ["region", "shop"]
NAMES = ["North", "North/a", "North/b", "South", "South/a", "South/b", "total"]


def shops() -> pd.DataFrame:
    """Two regions with two shops each; `a` of the South opened later."""
    rng = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=160, freq="D")
    parts = []
    for region in ("North", "South"):
        for number, shop in enumerate("ab"):
            y = 30 + 10 * number + 5 * np.sin(np.arange(160) / 4) + rng.normal(0, 3, 160)
            parts.append(pd.DataFrame({"ds": days, "y": y, "region": region, "shop": shop}))
    parts[2] = parts[2].tail(130)
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def board() -> Board:
    return forecast.compare(
        shops(), ["naive", "ridge"], freq="1D", hierarchy=GROUPS, splits=SPLITS, n_jobs=1, **SPANS
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    entry = {
        **SPANS,
        "calendar": {"kind": "regular", "freq": "1D"},
        "target": {"column": "y"},
        "hierarchy": GROUPS,
    }
    models = {"naive": {"family": "naive"}, "ridge": {"family": "ridge"}}
    budget = {"n_trials": 1, "trial_steps": 1, "final_steps": 1, "seeds": [0], "base_seed": 0}
    root = tmp_path_factory.mktemp("shops")
    results = trained(root, shops(), entry, models, budget)
    compare.main(NAME, str(root))
    return results


def require_sums(table: pd.DataFrame, column: str, keys: list[str]) -> None:
    wide = table.pivot(index=keys, columns="unique_id", values=column)
    assert list(wide) == NAMES
    np.testing.assert_allclose(wide["total"], wide["North"] + wide["South"])
    np.testing.assert_allclose(wide["South"], wide["South/a"] + wide["South/b"])


def test_what_a_hierarchy_lacks_is_named_by_the_series_and_no_sum(board: Board) -> None:
    model = board.model("ridge")
    df = shops()
    one_left = df[df["region"] == "North"]
    with pytest.raises(InputError, match="Series 'South/a', 'South/b' not found"):
        model.predict(one_left)


def test_forecasts_from_a_frame_add_up_after_saving_and_for_a_history_as_well(
    board: Board, tmp_path: Path
) -> None:
    model = board.model("ridge")
    table = model.predict(levels=80)
    require_sums(table, "ridge", ["ds"])
    assert (table["ridge-lo-80"] < table["ridge"]).all()
    model.save(tmp_path / "saved")
    loaded = forecast.load(tmp_path / "saved")
    pd.testing.assert_frame_equal(loaded.predict(shops(), levels=80), table)
    with pytest.raises(InputError, match="Series 'South/b' not found"):
        loaded.predict(shops().query("region != 'South' or shop != 'b'"))


def test_forecasts_of_the_test_block_add_up_and_their_intervals_cover_what_they_say(
    board: Board,
) -> None:
    table = board.forecasts("ridge", levels=80)
    require_sums(table, "ridge", ["ds", "cutoff"])
    is_covered = table["y"].between(table["ridge-lo-80"], table["ridge-hi-80"])
    for name, covered in is_covered.groupby(table["unique_id"]).mean().items():
        assert covered > 0.6, f"{name}: a sum's interval is that of its own reconciled errors"


def test_the_board_has_one_row_per_level_and_one_of_all(board: Board) -> None:
    rows = board.levels[board.levels["model"] == "ridge"].set_index("level")
    assert rows.index.tolist() == ["total", "region", "shop", "all"]
    assert rows["n_series"].tolist() == [1, 2, 4, 7]
    served = board.forecasts("ridge")
    errors = (served["y"] - served["ridge"]).abs().groupby(served["unique_id"]).mean()
    ratio = errors["total"] / rows.loc["total", "mase"]
    frame = board._results.prepared.frame.query("unique_id == 'total'")
    train = frame[frame["ds"] <= board._results.prepared.borders.train_end]
    assert ratio == pytest.approx(train["y"].diff().abs().mean()), "the scale of MASE"
    assert rows.loc["shop", "mase_base"] == pytest.approx(rows.loc["shop", "mase_bottom_up"])
    assert rows.loc["total", "mase_base"] != pytest.approx(rows.loc["total", "mase_bottom_up"])
    naive = board.levels[board.levels["model"] == "naive"]
    np.testing.assert_allclose(naive["mase"], naive["mase_base"]), "its forecasts add up already"


def test_names_of_sums_are_text_and_of_1_and_1_0_one_where_groups_and_ids_are_numbers(
    tmp_path: Path,
) -> None:
    df = shops()
    regions = df["region"].map({"North": 1, "South": 2})
    df = df.assign(region=regions, shop=10 * regions - (df["shop"] == "b"))
    model = forecast.fit(
        df, "naive", freq="1D", id_col="shop", hierarchy="region", n_jobs=1, **SPANS
    )
    model.save(tmp_path / "saved")
    loaded = forecast.load(tmp_path / "saved")
    filled = df.assign(region=regions.astype(float), shop=df["shop"].astype(float))
    for table in (model.predict(), model.predict(df), loaded.predict(df), loaded.predict(filled)):
        names = ["1", "1/10", "1/9", "2", "2/19", "2/20", "total"]
        assert list(dict.fromkeys(table["shop"])) == names


def test_series_without_groups_have_no_levels() -> None:
    plain = SimpleNamespace(_dataset=SimpleNamespace(settings=SimpleNamespace(hierarchy=())))
    with pytest.raises(InputError, match="Pass `hierarchy`"):
        Board.levels.fget(plain)  # type: ignore[attr-defined]


def test_the_entry_of_a_file_gives_the_same_forecasts_as_the_frame(
    results: Results, board: Board
) -> None:
    require_sums(results.forecasts("ridge", "test"), "y_hat", ["cutoff", "step"])
    of_frame = board._results.forecasts("naive", "test")
    pd.testing.assert_frame_equal(results.forecasts("naive", "test"), of_frame)
    table_by_level = score_tables.level_table(results, "shipped")
    assert table_by_level is not None
    assert [row.cells[0].content for row in table_by_level.rows if row.model == "ridge"] == [
        "total",
        "region",
        "shop",
        "all",
    ]


def test_what_is_served_after_the_newest_snapshot_adds_up_also_when_refitted(
    results: Results, tmp_path: Path
) -> None:
    ensemble = load_trained_ensemble(results.folder("ridge"))
    frame = read_newest_frame(results.paths.root, NAME, results.dataset, ensemble)
    panel = from_frame(frame, NAME, ensemble.task)
    rows = {name: np.array([len(panel.by_id[name]) - 1]) for name in NAMES}
    before = {name: values[0, :, 0] for name, values in ensemble.predict(panel, rows).items()}
    np.testing.assert_allclose(before["total"], before["North"] + before["South"])
    target = tmp_path / "all"
    refit.refit_on_all_data(results.paths.root, NAME, results.folder("ridge"), target, jobs=1)
    refitted = load_trained_ensemble(target)
    after = refitted.predict(panel, rows)
    np.testing.assert_allclose(after["total"], after["North"] + after["South"])
    assert not np.allclose(after["total"][0, :, 0], before["total"])
    assert predicting.last_values(panel)["total"] > 100
    assert refitted.forecasters[0].corrected_series == tuple(sorted(NAMES))


def test_corrections_of_as_many_other_series_are_refused_when_made_and_when_read(
    results: Results, tmp_path: Path
) -> None:
    (forecaster,) = load_trained_ensemble(results.folder("ridge")).forecasters
    others = ("West", *forecaster.corrected_series[1:])
    with pytest.raises(InputError, match=r"'West' are only in the model or only in the correct"):
        replace(forecaster, corrected_series=others)
    forecaster.save(tmp_path / "saved")
    spec = tmp_path / "saved" / "spec.json"
    files.write_json(spec, {**files.read_json(spec), "corrected_series": others})
    with pytest.raises(InputError, match="Train it again"):
        Forecaster.load(tmp_path / "saved")
