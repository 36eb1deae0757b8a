"""Pipelines without a leak, some of which look a little like one: the audit says nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.audit import cases
from tests.audit.cases import (
    FEWEST,
    append,
    audited,
    change_series,
    derived,
    replace_data,
    take,
    wave,
    write,
)

Case = Callable[[Path], None]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


@case
def as_it_is(root: Path) -> None:
    write(root)


@case
def logarithms_of_a_drifting_level(root: Path) -> None:
    write(root, target={"column": "y", "transform": "log", "difference_inputs": True})


@case
def means_of_a_logarithm(root: Path) -> None:
    write(root, target={"column": "y", "transform": "log", "point": "mean"})


@case
def logarithmic_differences(root: Path) -> None:
    write(root, target={"column": "y", "transform": "logdiff"})


@case
def no_inputs_but_the_target(root: Path) -> None:
    write(root, past_exogenous=[], calendar_features=[])


@case
def two_series_of_unlike_length(root: Path) -> None:
    first, second = wave(0), wave(1).iloc[40:]
    write(
        root,
        frame=pd.concat(
            [first.assign(unique_id="a"), second.assign(unique_id="b")], ignore_index=True
        ),
    )


@case
def missing_days(root: Path) -> None:
    target = {"column": "y", "max_missing": 0.1}
    write(root, frame=wave().drop(index=[50, 51, 180, 240, 241, 242]), target=target)


@case
def shares_instead_of_dates(root: Path) -> None:
    write(root, splits={"train": 0.5, "validation": 0.2, "calibration": 0.1})


@case
def a_late_series_and_one_too_young_for_a_score(root: Path) -> None:
    begins = {"old": 0, "late": 160, "young": 290}
    parts = [
        wave(number).iloc[begin:].assign(unique_id=name)
        for number, (name, begin) in enumerate(begins.items())
    ]
    shares = {"train": 0.5, "validation": 0.2, "calibration": 0.1}
    write(root, frame=pd.concat(parts, ignore_index=True), splits=shares)


@case
def one_step_ahead(root: Path) -> None:
    write(root, horizon=1)


@case
def a_stride_of_three(root: Path) -> None:
    write(root, step_size=3)


@case
def a_month_of_lookback(root: Path) -> None:
    write(root, lookback=28, calendar_features=["day_of_week", "month_of_year"])


@case
def a_random_walk(root: Path) -> None:
    steps = np.random.default_rng(3).normal(0, 1, cases.DAYS)
    write(
        root,
        frame=wave().assign(y=100 + np.cumsum(steps)),
        target={"column": "y", "difference_inputs": True},
    )


@case
def a_sine_without_noise(root: Path) -> None:
    write(root, frame=wave().assign(y=10 + np.sin(2 * np.pi * np.arange(cases.DAYS) / 7)))


@case
def yesterdays_target_as_an_input(root: Path) -> None:
    frame = wave()
    write(root, frame=frame.assign(x=frame["y"].shift(1)))


@case
def a_twin_of_the_target_as_an_input(root: Path) -> None:
    frame = wave()
    twin = frame["y"] + np.random.default_rng(4).normal(0, 0.01, len(frame))
    write(root, frame=frame.assign(x=twin))


@case
def a_trailing_mean_as_a_feature(root: Path) -> None:
    write(root)
    derived(root, 'frame["x"] = frame["y"].rolling(5, min_periods=1).mean()')


@case
def a_plan_known_ahead_and_forecasts_of_the_provider(root: Path) -> None:
    """Blocks are shares of what was observed: the plan reaches forty days further."""
    rng, days = np.random.default_rng(5), pd.date_range("2024-01-01", periods=cases.DAYS + 40)
    plan = (rng.random(len(days)) < 0.2).astype(float)
    frame = pd.DataFrame({"ds": days, "plan": plan}).merge(wave(), on="ds", how="left")
    lifted = frame.assign(y=frame["y"] + 2 * frame["plan"])
    known = lifted.dropna(subset="y")
    issues = [
        pd.DataFrame(
            {"ds": known["ds"][row : row + 5], "issued_at": known["ds"].iloc[row], "y": known["y"]}
        ).dropna()
        for row in range(0, len(known), 2)
    ]
    issued = pd.concat(issues).assign(y=lambda rows: rows["y"] + rng.normal(0, 1, len(rows)))
    root.mkdir(parents=True)
    issued.to_csv(root / "said.csv", index=False)
    write(
        root,
        frame=lifted,
        models=("service",),
        source={**cases.DATASET["source"], "issued_path": "said.csv", "issued_columns": ["y"]},
        future_exogenous=[
            {"column": "plan", "known_ahead": True},
            {"column": "y", "issued": True, "max_missing": 0.1},
        ],
        splits={"train": 0.5, "validation": 0.2, "calibration": 0.1},
    )


@case
def a_plan_that_drives_the_target(root: Path) -> None:
    plan = np.random.default_rng(5).normal(0, 10, cases.DAYS)
    frame = wave().assign(plan=plan)
    write(
        root,
        frame=frame.assign(y=frame["y"] + 0.8 * plan),
        future_exogenous=[{"column": "plan", "known_ahead": True}],
        splits={"train": 0.5, "validation": 0.2, "calibration": 0.1},
    )


@case
def gaps_filled_forwards(root: Path) -> None:
    write(root)
    change_series(root, "{'values': pd.DataFrame(series.values).ffill().to_numpy()}")


@case
def medians_of_the_train_block_as_scale(root: Path) -> None:
    write(root)
    append(
        root,
        "forecast/data/scaling.py",
        """
        def _centre_and_scale(values, column):
            observed = values[np.isfinite(values)]
            return float(np.median(observed)), float(np.ptp(observed))
    """,
    )


@case
def calibration_on_the_calibration_block(root: Path) -> None:
    write(root)
    cases.calibrate(root, "calibration")


@case
def history_only_continued(root: Path) -> None:
    write(root, frame=wave().iloc[:310])
    take(root, wave(), as_of="2024-11-16")


@case
def provisional_values_settled(root: Path) -> None:
    from forecast.data import snapshots
    from forecast.system import files

    write(root)
    replace_data(root, wave().iloc[:310])
    pointer = snapshots.read_pointer(root, "wave")
    record = snapshots.path_in_store(root, pointer.snapshot).with_suffix(".json")
    files.write_json(record, {**files.read_json(record), "provisional_from": "2024-11-01T00:00:00"})
    frame = wave()
    frame.loc[307:309, "y"] += 0.2
    take(root, frame, as_of="2024-11-16")


@case
def a_column_joined_from_another_dataset(root: Path) -> None:
    write(root)
    cases.join(root)


@case
def statistical_models(root: Path) -> None:
    write(root, models=("auto_ets", "drift", "theta"))
    cases.rewrite(root, "configs/models.yaml", "family: theta", "family: theta\n    refit: monthly")


@case
def networks(root: Path) -> None:
    # both rankings go through the same code
    write(root, models=("mlp", "gru"), rankings=("shipped",))


@case
def networks_whose_linear_part_is_fitted_again(root: Path) -> None:
    write(root, models=("narx", "gru"))
    path = root / "configs" / "models.yaml"
    path.write_text("refit: monthly\n" + path.read_text())


@case
def what_differs_most_at_once(root: Path) -> None:
    """Two series of unlike length and with missing days, a column joined from another dataset,
    networks, and weights learnt on validation once and every month.
    """
    first, second = wave(0).drop(index=[50, 51, 180, 240, 241, 242]), wave(1).iloc[40:]
    frame = pd.concat(
        [first.assign(unique_id="a"), second.assign(unique_id="b")], ignore_index=True
    )
    monthly = {**cases.STACKED, "refit": "monthly"}
    write(
        root,
        frame=frame,
        references=FEWEST,
        models=("mlp", "gru"),
        combinations={"stacked": cases.STACKED, "again": monthly},
        rankings=("shipped",),
        target={"column": "y", "max_missing": 0.1},
    )
    cases.join(root, frame[["unique_id", "ds", "y"]])


@pytest.mark.slow  # test_command.py has a clean pipeline
@pytest.mark.parametrize("name", CASES)
def test_a_clean_pipeline_passes(name: str, tmp_path: Path) -> None:
    root = tmp_path / "project"
    CASES[name](root)
    report = audited(root)
    assert report["clean"], report
    assert report["checked"]["candidates"] >= 4 and report["checked"]["calibration calls"] >= 4
    assert report["checked"]["moments"] >= 6
