"""Static columns: what never changes in a series is known as such, and read by every model that
reads inputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import forecast
from forecast.config.datasets import Dataset, load_dataset
from forecast.config.reading import validate_config
from forecast.data import preparation, snapshots
from forecast.data.guesses.entry import guess_entry
from forecast.data.hierarchy import add_sums
from forecast.data.panel import from_frame
from forecast.data.roles import describe_roles
from forecast.forecaster.serving import Service
from forecast.system.errors import InputError

KIND = {"column": "kind", "categories": ["beach", "ski"]}
SIZE = {"column": "size", "centre": 100.0, "scale": 20.0}
SPANS = {"horizon": 6, "lookback": 3, "season_length": 1}
N_SHORT = 4


def shops(n_shops: int = 14) -> pd.DataFrame:
    """Months of shops whose summer is high on the beach and low in the mountains; the newest four
    have half of the months.
    """
    rng = np.random.default_rng(0)
    parts = []
    for number in range(n_shops):
        kind = ("beach", "ski")[number % 2]
        months = pd.date_range("2014-01-01", periods=120, freq="MS")
        if number >= n_shops - N_SHORT:
            months = months[-60:]
        season = np.cos(2 * np.pi * (months.month.to_numpy() - 7) / 12)
        sales = 100 + 30 * season * (1 if kind == "beach" else -1) + rng.normal(0, 15, len(months))
        shop = {"shop": f"shop {number:02d}", "month": months, "sales": sales.round(1)}
        parts.append(pd.DataFrame({**shop, "kind": kind, "size": 70 + 5 * number}))
    return pd.concat(parts, ignore_index=True)


NAMES = {"id_col": "shop", "time_col": "month", "target_col": "sales"}


def errors_by_shop(model: str | dict[str, Any], static: list[str]) -> pd.Series:
    """Mean absolute error over a year of cutoffs, by shop."""
    fitted = forecast.fit(
        shops(),
        model,
        freq="MS",
        calendar_features=["month_of_year"],
        static=static,
        n_jobs=1,
        **SPANS,
        **NAMES,
    )
    windows = fitted.cross_validation(n_windows=13)
    missed = (windows["sales"] - windows[fitted.name]).abs()
    return missed.groupby(windows["shop"]).mean()


@pytest.mark.parametrize(
    ("model", "most_of_short"),
    [
        ("ridge", 0.95),
        (
            {
                "family": "sklearn",
                "regressor": "ExtraTreesRegressor",
                "options": {"n_estimators": 30},
            },
            0.95,
        ),
        # which tells the kind of a shop from its newest rows and the month, in part
        pytest.param(
            {"family": "mlp", "units": 8},
            1.0,
            marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore:df. mlp did not train")],
        ),
    ],
    ids=["ridge", "trees", "network"],
)
def test_a_kind_that_decides_the_season_helps_every_model_and_short_series_too(
    model: Any, most_of_short: float
) -> None:
    without = errors_by_shop(model, [])
    with_kind = errors_by_shop(model, ["kind", "size"])
    assert with_kind.mean() < 0.9 * without.mean()
    # five years show most of a season without the kind: both are near the noise
    assert with_kind.tail(N_SHORT).mean() < most_of_short * without.tail(N_SHORT).mean()


def test_a_fitted_model_takes_the_kind_from_any_history_and_from_a_saved_folder(
    tmp_path: Path,
) -> None:
    df = shops(6)
    model = forecast.fit(df, "ridge", freq="MS", static=["kind", "size"], **SPANS, **NAMES)
    model.save(tmp_path / "saved")
    loaded = forecast.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.predict(df)["ridge"], model.predict()["ridge"])
    swapped = df.assign(kind=df["kind"].map({"beach": "ski", "ski": "beach"}))
    assert (loaded.predict(swapped)["ridge"] != model.predict()["ridge"]).all()
    contributions = model.explain().groupby(["shop", "month"])["contribution"].sum()
    ordered = model.predict().set_index(["shop", "month"])["ridge"].sort_index()
    np.testing.assert_allclose(contributions, ordered)
    with pytest.raises(InputError, match="'kind' holds 'town'; wanted one of 'beach', 'ski'"):
        loaded.predict(df.assign(kind="town"))
    with pytest.raises(InputError, match="column 'kind' is missing"):
        loaded.predict(df.drop(columns="kind"))
    answered = Service(model.ensemble).answer(model.dataset.frame)  # type: ignore[union-attr]
    np.testing.assert_array_equal(answered["y_hat"], model.predict()["ridge"])
    service = Service(model.ensemble)
    as_in_the_file = df.rename(columns={"shop": "unique_id", "month": "ds"})
    answered = service.answer(as_in_the_file)
    np.testing.assert_array_equal(answered["y_hat"], model.predict()["ridge"])
    with pytest.raises(InputError, match="request: column 'size' is missing"):
        service.answer(as_in_the_file.drop(columns="size"))
    with pytest.raises(InputError, match="'kind' holds 'town'; wanted one of 'beach', 'ski'"):
        service.answer(as_in_the_file.assign(kind="town"))
    for column, message in [("unique_id", "has 2 values of 'kind'"), ("size", "wanted a number")]:
        with pytest.raises(InputError, match=message):
            service.answer(as_in_the_file.assign(**{column: [{}] * len(as_in_the_file)}))


def test_what_a_static_column_brings_is_told_as_the_level_and_not_as_a_season() -> None:
    model = forecast.fit(shops(6), "ridge", freq="MS", static=["size"], n_jobs=1, **SPANS, **NAMES)
    assert set(model.explain()["part"]) == {"level", "newest rows"}
    model = forecast.fit(
        shops(6),
        "ridge",
        freq="MS",
        calendar_features=["month_of_year"],
        static=["size"],
        n_jobs=1,
        **SPANS,
        **NAMES,
    )
    assert set(model.explain()["part"]) == {"level", "season", "newest rows"}


def test_what_changes_in_a_series_is_not_static() -> None:
    df = shops(6)
    df.loc[0, "kind"] = "ski"
    with pytest.raises(InputError, match="series 'shop 00' has 2 values of 'kind'; wanted one"):
        forecast.fit(df, "ridge", freq="MS", static="kind", **SPANS, **NAMES)


@pytest.mark.parametrize(
    ("sizes", "pattern"),
    [
        ((np.nan, np.nan), "series 'shop 00' has no value of 'size'"),
        ((np.inf, 1.0), "column 'size .scaled.' holds inf, wanted a finite number up to"),
        ((1e200, 1.0), "wanted a finite number up to"),
    ],
)
def test_a_static_number_without_a_mean_or_a_spread_is_told(
    sizes: tuple[float, float], pattern: str
) -> None:
    df = shops(2)
    df["size"] = np.where(df["shop"] == "shop 00", *sizes)
    with pytest.raises(InputError, match=pattern):
        forecast.fit(df, "ridge", freq="MS", static="size", **SPANS, **NAMES)


def test_series_that_groups_name_have_static_columns_too() -> None:
    df = shops(6).assign(region=lambda rows: rows["shop"].isin(["shop 00", "shop 01"]).map(str))
    names = {"time_col": "month", "target_col": "sales"}
    df = df.groupby("shop").tail(60)
    groups = ["region", "shop"]
    model = forecast.fit(
        df, "ridge", freq="MS", hierarchy=groups, static="kind", n_jobs=1, **SPANS, **names
    )
    task = model.ensemble.task
    assert [column.categories for column in task.static] == [("beach", "ski")]
    whole = add_sums(model.dataset.frame, task)  # type: ignore[union-attr]
    total = from_frame(whole, "shops", task).by_id["total"]
    start = 2 * len(task.calendar_features)
    np.testing.assert_allclose(total.future[0, start : start + 2], [0.5, 0.5])


def entry(**changes: Any) -> Dataset:
    content = {
        "title": "Shops",
        "source": {
            "kind": "file",
            "path": "data/shops.csv",
            "columns": {"ds": "month", "unique_id": "shop"},
        },
        "calendar": {"kind": "regular", "freq": "1MS"},
        "target": {"column": "sales"},
        "static": [KIND, SIZE],
        "calendar_features": ["month_of_year"],
        "splits": {"train": 0.5, "validation": 0.2, "calibration": 0.15},
        "licence": {"name": "mine", "attribution": "mine"},
        **SPANS,
    }
    return validate_config(Dataset, {**content, **changes}, where="shops")


def prepared(root: Path, settings: Dataset, table: pd.DataFrame) -> pd.DataFrame:
    (root / "data").mkdir(exist_ok=True)
    table.to_csv(root / "data" / "shops.csv", index=False)
    pointer = preparation.take_snapshot("shops", settings, root=root)
    raw = pd.read_parquet(root / pointer.snapshot)
    return preparation.prepare(raw, settings, where="shops")[0]


def test_each_level_and_each_scaled_number_multiplies_the_calendar(tmp_path: Path) -> None:
    settings = entry()
    panel = from_frame(prepared(tmp_path, settings, shops(6)), "shops", settings.task)
    future = panel.by_id["shop 01"].future
    assert future.shape == (120 + 6, settings.task.n_step_inputs) == (126, 11)
    calendar, static, products = np.split(future, [2, 5], axis=1)
    size = (75 - 100) / 20
    np.testing.assert_array_equal(static, np.tile([0, 1, size], (126, 1)))
    expected = np.hstack([0 * calendar, calendar, size * calendar])
    np.testing.assert_array_equal(products, expected)


def test_a_row_of_a_plan_may_leave_the_kind_empty(tmp_path: Path) -> None:
    table = shops(6)
    table["kind"] = table["kind"].where(table["month"] < "2023-12-01")
    frame = prepared(tmp_path, entry(), table)
    assert set(frame.groupby("unique_id")["kind=ski"].nunique()) == {1}
    assert frame["kind=ski"].tail(1).item() == 1


def test_a_kind_and_a_group_may_be_called_na(tmp_path: Path) -> None:
    table = shops(6).replace({"kind": {"beach": "NA"}})
    settings = entry(static=[{"column": "kind", "categories": ["NA", "ski"]}])
    assert prepared(tmp_path, settings, table)["kind=NA"].sum() == (table["kind"] == "NA").sum()
    summed = entry(static=[], hierarchy=["kind", "shop"])
    names = set(prepared(tmp_path, summed, table)["unique_id"])
    assert {"total", "NA", "ski", "NA/shop 00"} < names


def test_an_empty_group_is_named_with_its_row(tmp_path: Path) -> None:
    table = shops(6)
    table.loc[3, "kind"] = None
    with pytest.raises(InputError, match="row 5: column 'kind' of the `hierarchy` holds ''"):
        prepared(tmp_path, entry(static=[], hierarchy=["kind", "shop"]), table)


def test_other_groups_than_the_snapshot_was_taken_with_are_refused(tmp_path: Path) -> None:
    plain = entry(static=[])
    prepared(tmp_path, plain, shops(6))
    pointer = preparation.take_snapshot("shops", plain, root=tmp_path)
    snapshots.move_pointer(tmp_path, "shops", pointer)
    preparation.check_data("shops", plain, root=tmp_path)
    grouped = entry(static=[], hierarchy=["kind", "shop"])
    for read in (preparation.check_data, preparation.read_snapshot):
        with pytest.raises(InputError, match=r"taken with \[\]\. Run `forecast fetch shops`"):
            read("shops", grouped, root=tmp_path)
    sandbox = tmp_path / "sandbox"  # as the audit plants a snapshot
    raw = pd.read_parquet(tmp_path / pointer.snapshot)
    as_of = pd.Timestamp(pointer.as_of)
    planted = snapshots.write_snapshot(sandbox, "shops", raw, as_of=as_of, provenance={})
    snapshots.move_pointer(sandbox, "shops", planted)
    assert preparation.read_snapshot("shops", grouped, root=sandbox).equals(raw)


def test_the_roles_name_static_columns_with_their_series(tmp_path: Path) -> None:
    settings = entry()
    roles = describe_roles(prepared(tmp_path, settings, shops(6)), settings)
    static = [role for role in roles if role.role == "static"]
    assert [(role.column, role.data) for role in static] == [
        ("kind", "series: beach 3, ski 3"),
        ("size", "70 to 95, mean 82.5"),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"static": [KIND], "past_exogenous": [{"column": "kind"}]}, "static 'kind': found twice"),
        ({"static": [{"column": "sales"}]}, "static 'sales': found twice"),
        ({"static": [{"column": "size", "scale": 0}]}, "scale"),
    ],
)
def test_an_entry_names_a_column_once(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        entry(**changes)


def test_text_without_categories_is_answered_with_those_to_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"wanted a number, or `categories: \[beach, ski\]`"):
        prepared(tmp_path, entry(static=[{"column": "kind"}]), shops(6))


def guessed(tmp_path: Path, table: pd.DataFrame) -> tuple[dict[str, Any], str]:
    (tmp_path / "configs").mkdir()
    table.to_csv(tmp_path / "mine.csv", index=False)
    text = guess_entry(tmp_path / "mine.csv", "data/mine.csv", "mine")
    (tmp_path / "configs" / "datasets.yaml").write_text(f"run: [mine]\ndatasets:\n{text}")
    load_dataset("mine", tmp_path / "configs")  # it is one that can be read
    return yaml.safe_load(text)["mine"], text


def test_add_takes_kinds_and_sizes_as_static_and_no_name_of_every_series(tmp_path: Path) -> None:
    table = shops(8).assign(address=lambda rows: "street " + rows["shop"])
    written, text = guessed(tmp_path, table)
    assert written["static"] == [KIND, {"column": "size", "centre": 87.5, "scale": 11.46}]
    assert "# constant in every series: address" in text


def test_add_takes_nothing_as_static_of_three_series(tmp_path: Path) -> None:
    written, text = guessed(tmp_path, shops(3))
    assert "static" not in written
    assert "# constant in every series: kind, size" in text
