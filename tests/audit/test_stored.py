"""The finished results of a project, edited after their run: the audit makes them again and says
which are not so.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from forecast.audit import rescored, runs
from forecast.audit.changes import block_ends
from forecast.audit.sandbox import Project
from forecast.audit.stored import audit_stored_results, reason_not_to_audit
from forecast.comparison.intervals import CandidateBlocks, interval_scores
from forecast.comparison.metrics import coverage_by_step
from forecast.comparison.scores import series_forecasts
from forecast.data.comparison_records import Verdicts
from forecast.data.panel import Panel, from_frame
from forecast.data.records import RunRecord
from forecast.forecaster import ensemble, intervals
from forecast.forecaster.intervals import SplitConformal
from forecast.system import files
from tests.audit import cases
from tests.support import problems
from tests.support.records import run_record
from tests.support.small_project import ROOT, run_process

MIX = {"family": "combination", "members": ["seasonal_naive", "naive"]}
Edit = Callable[[Path, Path], None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("stored") / "project")


@pytest.fixture(scope="module")
def fitted_again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a later fit of every row at each tenth origin."""
    return run(tmp_path_factory.mktemp("again") / "project", refit=10)


def run(place: Path, **models: Any) -> Path:
    two = pd.concat(
        [
            cases.wave(0).assign(unique_id="a"),
            cases.wave(1).assign(unique_id="b", y=lambda f: 5 * f["y"]),
        ]
    )
    root = cases.write(place, frame=two, models=("elman",), combinations={"mix": MIX})
    path = root / "configs" / "models.yaml"
    cases.write_yaml(path, {**yaml.safe_load(path.read_text()), **models})
    for stage in ("fetch", "prepare", "tune", "train", "compare"):
        options = (
            {"state": str(root / ".forecast"), "jobs": 1} if stage in ("tune", "train") else {}
        )
        importlib.import_module(f"pipelines.{stage}").main("wave", root=str(root), **options)
    return root


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_planted_results_of_a_run_at_full_budget_are_caught_by_the_command(tmp_path: Path) -> None:
    """The budget of configs/tuning.yaml as it comes; the audit as a user calls it."""
    root = cases.write(tmp_path / "project", models=("elman",), rankings=("architecture",))
    shutil.copy(ROOT / "configs" / "tuning.yaml", root / "configs" / "tuning.yaml")
    for stage in ("fetch", "prepare", "tune", "train", "compare"):
        options = (
            {"state": str(root / ".forecast"), "jobs": 2} if stage in ("tune", "train") else {}
        )
        importlib.import_module(f"pipelines.{stage}").main("wave", root=str(root), **options)
    trained, compared = (root / "data" / name / "wave" for name in ("trained", "compared"))
    forecasts_nearer_to_the_actuals(trained, compared, candidate="elman.last")
    narrower_intervals(trained, compared)
    a_model_saved_by_another_run(trained, compared)
    words = ("audit", "wave", "--format", "json")
    planted = run_process(root, *words, PYTHONPATH=str(root))
    assert planted.returncode == 5, planted.stdout + planted.stderr
    findings = json.loads(planted.stdout[planted.stdout.index("{") :])["findings"]
    kinds = {(finding["kind"], finding["where"].split("/")[0]) for finding in findings}
    assert {("stored", "elman.last"), ("scaling", "ridge")} <= kinds, findings
    assert "scores" in {kind for kind, _ in kinds}, findings


def found_in(root: Path) -> tuple[set[tuple[str, str]], str]:
    """Kind and place of the findings, and why there can be none."""
    project = Project.of(root, "wave")
    frame = pd.read_parquet(root / "data" / "prepared" / "wave" / "frame.parquet")
    whole = from_frame(frame, "wave", project.settings.task)
    reason = reason_not_to_audit(project)
    if reason:
        return set(), reason
    ends = block_ends(project.frame, project.settings)
    findings = audit_stored_results(project, whole, ends)
    return {(finding.kind, finding.where) for finding in findings}, ""


def forecasts_nearer_to_the_actuals(
    trained: Path, compared: Path, candidate: str = "elman.linear"
) -> None:
    path = trained / candidate / "forecasts.parquet"
    table = pd.read_parquet(path)
    table["y_hat"] = table["y_hat"].where(
        table["block"] != "test", (table["y_hat"] + table["y"]) / 2
    )
    files.write_frame(path, table)


def a_better_row_of_the_leaderboard(trained: Path, compared: Path) -> None:
    _scaled(compared / "leaderboard.csv", "mase", model="elman")


def narrower_intervals(trained: Path, compared: Path) -> None:
    _scaled(compared / "intervals.parquet", "winkler", model="ridge")


def margins_of_the_other_series(trained: Path, compared: Path) -> None:
    path = compared / "intervals.parquet"
    table = pd.read_parquet(path)
    table["series"] = table["series"].map({"a": "b", "b": "a"})
    files.write_frame(path, table)


def other_settings_in_the_record(trained: Path, compared: Path) -> None:
    path = trained / "elman.linear" / "record.json"
    record = files.read_json(path)
    files.write_json(path, {**record, "tuned": {**record["tuned"], "learning_rate": 0.123}})


def a_model_saved_by_another_run(trained: Path, compared: Path) -> None:
    path = trained / "ridge" / "seed-0" / "scaling.json"
    scaling = files.read_json(path)
    first = scaling[min(scaling)]
    first["centre"] = [1.01 * value for value in first["centre"]]
    files.write_json(path, scaling)


def another_model_chosen(trained: Path, compared: Path) -> None:
    path = compared / "verdicts.json"
    files.write_json(
        path, {**files.read_json(path), "chosen": {"shipped": "naive", "architecture": "naive"}}
    )


def naive_of_the_day_before(trained: Path, compared: Path) -> None:
    path = trained / "naive" / "forecasts.parquet"
    table = pd.read_parquet(path).sort_values(["unique_id", "step", "cutoff"])
    table["y_hat"] = table.groupby(["unique_id", "step"])["y_hat"].shift(1).bfill()
    files.write_frame(path, table.sort_index())


def other_weights_in_the_record(trained: Path, compared: Path) -> None:
    path = trained / "mix" / "record.json"
    record = files.read_json(path)
    record["members"][0]["weight"], record["members"][1]["weight"] = 0.9, 0.1
    files.write_json(path, record)


def other_weights_than_its_forecasts_were_made_with(trained: Path, compared: Path) -> None:
    path = trained / "mix" / "record.json"
    record = files.read_json(path)
    record["members"][0]["weight"], record["members"][1]["weight"] = 0.9, 0.1
    weights = {member["candidate"]: member["weight"] for member in record["members"]}
    record["weights"] = [{**record["weights"][0], "weights": weights}]
    files.write_json(path, record)


def _scaled(path: Path, column: str, *, model: str) -> None:
    whole = path.suffix == ".parquet"
    table = pd.read_parquet(path) if whole else pd.read_csv(path)
    table[column] = np.where(table["model"] == model, 0.9 * table[column], table[column])
    files.write_frame(path, table) if whole else table.to_csv(path, index=False)


EDITS: dict[Edit, str] = {
    forecasts_nearer_to_the_actuals: "stored",
    a_better_row_of_the_leaderboard: "scores",
    narrower_intervals: "scores",
    margins_of_the_other_series: "scores",
    other_settings_in_the_record: "stored",
    a_model_saved_by_another_run: "scaling",
    another_model_chosen: "choice",
    naive_of_the_day_before: "scores",
    other_weights_in_the_record: "stored",
    other_weights_than_its_forecasts_were_made_with: "stored",
}


def test_results_as_they_were_written_are_those_of_their_models(finished: Path) -> None:
    assert found_in(finished) == (set(), "")


AT_ONCE = {
    a_better_row_of_the_leaderboard: ("scores", "leaderboard"),
    a_model_saved_by_another_run: ("scaling", "ridge/seed-0"),
    another_model_chosen: ("choice", "verdicts.json"),
    other_weights_than_its_forecasts_were_made_with: ("stored", "mix"),
}
"""Edits none of which is told where another one is."""


def test_results_edited_at_once_are_each_told(finished: Path, tmp_path: Path) -> None:
    root = shutil.copytree(finished, tmp_path / "project")
    for edit in AT_ONCE:
        edit(root / "data" / "trained" / "wave", root / "data" / "compared" / "wave")
    assert {*AT_ONCE.values()} <= found_in(root)[0]


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        pytest.param(
            edit,
            kind,
            id=edit.__name__,
            marks=() if edit is forecasts_nearer_to_the_actuals else pytest.mark.slow,
        )
        for edit, kind in EDITS.items()
    ],
)
def test_a_result_edited_after_its_run_is_told(
    edit: Edit, kind: str, finished: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(finished, tmp_path / "project")
    edit(root / "data" / "trained" / "wave", root / "data" / "compared" / "wave")
    assert kind in dict(found_in(root)[0])


def test_of_a_row_fitted_again_the_forecasts_of_the_fit_that_serves_are_looked_at(
    fitted_again: Path, tmp_path: Path
) -> None:
    assert found_in(fitted_again) == (set(), "")
    record = files.read_json(
        fitted_again / "data" / "trained" / "wave" / "elman.linear" / "record.json"
    )
    assert record["refits"] > 5
    root = shutil.copytree(fitted_again, tmp_path / "project")
    forecasts_nearer_to_the_actuals(
        root / "data" / "trained" / "wave", root / "data" / "compared" / "wave"
    )
    assert "stored" in dict(found_in(root)[0])


@pytest.mark.slow  # the kind of the test before this one, at the border of the block
def test_a_fit_that_serves_from_the_first_origin_of_the_test_block_on_is_looked_at(
    fitted_again: Path, tmp_path: Path
) -> None:
    table = pd.read_parquet(
        fitted_again / "data" / "trained" / "wave" / "ridge" / "forecasts.parquet"
    )
    begin = int(table.loc[table["block"] != "test", "cutoff"].nunique())
    root = run(tmp_path / "project", refit=begin)
    assert found_in(root) == (set(), "")
    ridge_folder = root / "data" / "trained" / "wave" / "ridge"
    shutil.rmtree(ridge_folder / "newest-0")
    shutil.copytree(ridge_folder / "chosen-0", ridge_folder / "newest-0")
    assert "stored" in dict(found_in(root)[0])


def test_results_of_other_settings_are_left_alone_with_a_note(
    finished: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(finished, tmp_path / "project")
    cases.change_dataset(root, lookback=14)
    kinds, reason = found_in(root)
    assert not kinds and "trained with other settings; run `dvc repro`" in reason


def test_without_a_finished_run_the_note_says_so(tmp_path: Path, finished: Path) -> None:
    root = shutil.copytree(finished, tmp_path / "project")
    shutil.rmtree(root / "data" / "trained")
    assert "no finished run" in found_in(root)[1]


class Judged:
    """Four rows with errors 1 (a network), 2 and 4 (combinations) and 3 (a baseline) of one series,
    and a verdict.
    """

    kinds = {
        "gru": "network",
        "mix": "combination",
        "other_mix": "combination",
        "naive": "baseline",
    }

    def __init__(
        self,
        chosen: str,
        errors: tuple[float, ...] = (1.0, 2.0, 4.0, 3.0),
        learnt: str = "",
    ) -> None:
        self.verdicts = Verdicts(chosen={"shipped": chosen})
        self.learnt = learnt
        self.errors = errors

    @property
    def records(self) -> dict[str, RunRecord]:
        weights = {self.learnt: "stacked"}
        return {
            name: run_record(name, kind=kind, params={"weights": weights.get(name, "equal")})
            for name, kind in self.kinds.items()
        }

    def count_findings(self) -> int:
        held_back = {}
        for (name, kind), error in zip(self.kinds.items(), self.errors, strict=True):
            index = pd.MultiIndex.from_product([["a"], range(5)], names=["series", "cutoff"])
            errors = pd.DataFrame({"mean": error}, index)
            held_back[name, "baseline" if kind == "baseline" else "shipped"] = errors
        return len(list(rescored._check_choice(self, pd.Series({"a": 1.0}), held_back)))


def test_the_selected_row_has_learnt_weights_or_the_lowest_loss_of_all() -> None:
    assert [Judged(name).count_findings() for name in ("gru", "mix", "naive")] == [0, 1, 1]
    for name, faults in (("other_mix", 0), ("mix", 1), ("gru", 1)):
        assert Judged(name, learnt="other_mix").count_findings() == faults


def test_the_names_of_a_hierarchys_corrections_are_no_difference_of_the_fit(tmp_path):
    """They are added after the fit, so a fit without the later rows lacks them."""
    content = {"schema": 4, "skip": None, "corrected_series": ["North", "total"]}
    files.write_json(tmp_path / "saved" / "spec.json", content)
    files.write_json(tmp_path / "again" / "spec.json", {**content, "corrected_series": []})
    assert runs.differing_files(tmp_path / "saved", tmp_path / "again") == []
    files.write_json(tmp_path / "again" / "spec.json", {**content, "skip": {}})
    assert runs.differing_files(tmp_path / "saved", tmp_path / "again") == ["spec.json"]


def forecasts_of(panel: Panel, starts: dict[str, int], y_hat: np.ndarray) -> pd.DataFrame:
    """The table of a candidate that forecasts `y_hat` (T,) of every series, by block from the row
    of its first cutoff on.
    """
    parts = []
    for series in panel.series:
        rows = np.repeat(np.arange(20, len(series) - problems.HORIZON), problems.HORIZON)
        step = np.tile(np.arange(1, problems.HORIZON + 1), len(rows) // problems.HORIZON)
        numbers = np.searchsorted(list(starts.values()), rows, side="right") - 1
        columns = {
            "cutoff": series.ds[rows],
            "step": step,
            "ds": series.ds[rows + step],
            "y": series.values[rows + step, 0],
            "y_hat": y_hat[rows + step],
            "block": np.array(list(starts))[numbers],
            "volatility": intervals.volatility(series.values, rows, panel.task)[:, 0],
        }
        parts.append(pd.DataFrame(columns).assign(unique_id=series.unique_id))
    return pd.concat(parts).assign(output="sales", seed=0)


def compare_intervals(
    table: pd.DataFrame, panel: Panel, level: float, served: dict[str, SplitConformal]
) -> None:
    """Those of the compare stage are those of `served`."""
    task = panel.task
    last = {series.unique_id: pd.Series(0.0, series.ds) for series in panel.series}
    cubes = {str(block): series_forecasts(rows, last) for block, rows in table.groupby("block")}
    blocks = CandidateBlocks(
        run_record("mean"), cubes["calibration"], cubes["test"], task, cubes["validation"]
    )
    compared, unsupported = interval_scores(blocks, [level])
    assert unsupported == []
    all_steps = compared[compared["step"] == 0].set_index("series")
    for name, conformal in served.items():
        rows = table[(table["unique_id"] == name) & (table["block"] == "test")]
        y, y_hat, difficulty = ensemble.block_errors(rows, task)
        low, high = conformal.bounds_in_turn(y_hat, difficulty, [level / 100])
        of_service = coverage_by_step(y[None], low, high, nominal=level / 100)
        for score in ("coverage", "winkler"):
            assert all_steps.loc[name, score] == pytest.approx(of_service[score][0, 0])


ONE_TARGET = {"target": [{"column": "sales"}], "past_exogenous": [], "step_size": 1}


@pytest.mark.parametrize("level", [80, 95])
def test_intervals_of_a_series_with_closed_hours_are_the_same_for_table_and_service(
    level: float,
) -> None:
    draw = np.random.default_rng(1)
    ds = pd.date_range("2024-01-01", periods=300, freq="h")
    is_closed = ds.hour % problems.SEASON == 3
    sales = np.where(is_closed, 0.0, draw.gamma(3, size=len(ds)))
    panel = problems.panel_of(
        pd.DataFrame({"unique_id": "north", "ds": ds, "sales": sales}), **ONE_TARGET
    )
    starts = {"validation": 0, "calibration": 60, "test": 180}
    table = forecasts_of(panel, starts, np.where(is_closed, 0.0, 3.0))
    served = ensemble.calibrate_intervals(table, panel.task)
    assert served["north"].season.is_quiet[:, 0].tolist() == [False, False, False, True]
    compare_intervals(table, panel, level, served)


@pytest.mark.parametrize("first", [24, 40], ids=["26 origins", "10 origins"])
@pytest.mark.parametrize("level", [80, 95])
def test_intervals_of_many_short_series_are_the_same_for_table_and_service(
    level: float, first: int
) -> None:
    draw = np.random.default_rng(1)
    ds = pd.date_range("2024-01-01", periods=80, freq="h")
    parts = []
    for number in range(12):
        sales = draw.normal(size=len(ds)) * 2.0**number
        sales[45] = np.nan
        rows = pd.DataFrame({"unique_id": f"shop {number:02}", "ds": ds, "sales": sales})
        parts.append(rows[: len(ds) - number])  # test blocks of unequal lengths
    panel = problems.panel_of(pd.concat(parts), **ONE_TARGET)
    starts = {"validation": 0, "calibration": first, "test": 50}
    table = forecasts_of(panel, starts, np.zeros(len(ds)))
    served = ensemble.calibrate_intervals(table, panel.task)
    compare_intervals(table, panel, level, served)
    pools = [each.newest.ranked_pool for each in served.values()]
    assert all(pool is not None and len(pool.newest) < len(pool.calibration) for pool in pools)
