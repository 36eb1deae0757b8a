"""Compares two runs of the pipeline (`compare_*`), and checks one run by itself (`check_*`).

Of two runs, one on the unchanged data and one on data changed after a moment, the fits, choices,
calibrations and forecasts up to the moment must be equal bit for bit. Of one run the blocks,
origins, folds, requested targets and calibration rows are checked against borders that are computed
from the configuration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.audit import Finding
from forecast.audit.changes import count_rows_until
from forecast.audit.sandbox import Sandbox
from forecast.config.task import Task
from forecast.config.transforms import TRANSFORMS
from forecast.data.panel import Panel
from forecast.data.records import RunRecord
from forecast.data.splits import REQUIRED_BLOCKS
from forecast.forecaster import Problem
from forecast.system import files

FINDING_KIND_BY_FILE = {
    "scaling.json": "scaling",
    "skip.npz": "skip",
    "correction.npz": "skip",
    "weights.npz": "training",
    "head.npz": "training",
    "dependence.npz": "training",
    "spec.json": "training",
}
"""File of a saved model → the kind of finding where it differs. Files of
`forecaster.reconciliation` are missing, since they may depend on validation rows.
"""
NOT_OF_THE_FIT = {"corrected_series": None}
"""Keys of spec.json that are written after the fit and are not compared."""
KEYS = ("unique_id", "cutoff", "step", "block", "seed", "output")
"""Columns that identify a row in a table of forecasts or intervals."""
SCORE_KEYS = ["model", "ranking", "series", "seed"]
"""Columns that identify a row in the table of scores by series."""


def compare_fits(
    base: Sandbox, other: Sandbox, fits: list[str], moment: pd.Timestamp, detector: str
) -> Iterator[Finding]:
    """Yield a finding for each file of the saved models in the folders `fits` that differs between
    two runs, whose data differ after `moment`.
    """
    for folder in fits:
        for name in differing_files(base.trained / folder, other.trained / folder):
            yield Finding(
                FINDING_KIND_BY_FILE[name],
                detector,
                folder.split("/")[0],
                f"{name} of {folder} changes with rows after {moment:%Y-%m-%d %H:%M}",
            )


def compare_choices(
    base: Sandbox, other: Sandbox, moment: pd.Timestamp, detector: str
) -> Iterator[Finding]:
    """Yield findings where tuning, learning curves, combination weights, selected models or the
    scales of scores differ between two runs, whose data differ after `moment`.
    """
    change_text = f"changes with rows after {moment:%Y-%m-%d %H:%M}"
    for path in sorted(base.tuned.glob("*.json")):
        if _read_study(path) != _read_study(other.tuned / path.name):
            yield Finding("tuning", detector, path.stem, f"the study of {path.stem} {change_text}")
    other_records = other.results.records
    record_parts = (
        ("training", _training_outcome, "the training of {} (its validation curve or best step)"),
        ("weights", _first_weights, "the members of {}, or their weights,"),
    )
    for name, record in base.results.records.items():
        for kind, select_part, description in record_parts:
            if name not in other_records or select_part(record) != select_part(other_records[name]):
                yield Finding(kind, detector, name, f"{description.format(name)} {change_text}")
    base_choice = base.results.verdicts.chosen
    other_choice = other.results.verdicts.chosen
    if base_choice != other_choice:
        yield Finding(
            "choice",
            detector,
            "verdicts.json",
            f"the selected model {change_text}: {base_choice}, then {other_choice}",
        )
    # a row that only one run has is that of a fit that failed in the other, which is reported above
    rows = base.results.by_series.merge(
        other.results.by_series, on=SCORE_KEYS, suffixes=("", "_other")
    )
    # MAE / MASE is the scale of the train part, whatever the test block has; dropna: where an error
    # is zero, as of repeating a constant, the scale is unknown
    for error, scaled in (("mae", "mase"), ("rmse", "rmsse")):
        ratio = (rows[error] * rows[f"{scaled}_other"]) / (rows[scaled] * rows[f"{error}_other"])
        if not np.allclose(ratio.dropna(), 1.0, rtol=1e-8):
            yield Finding(
                "scores", detector, scaled.upper(), f"the scale of {scaled.upper()} {change_text}"
            )


def compare_calibrations(
    base: Sandbox, other: Sandbox, moment: pd.Timestamp, detector: str
) -> Iterator[Finding]:
    """Yield a finding for the first conformal fit whose inputs differ between two runs, whose
    data differ after `moment`; fits that one of them lacks are not compared.
    """
    for number, (base_call, other_call) in enumerate(
        zip(base.calibration_calls, other.calibration_calls, strict=False)
    ):
        if not _has_equal_arrays(base_call, other_call):
            yield Finding(
                "calibration",
                detector,
                f"call {number}",
                f"calibration call {number} was given values that change with rows after"
                f" {moment:%Y-%m-%d %H:%M}",
            )
            return


def check_calibration_rows(
    base: Sandbox, panel: Panel, ends: dict[str, pd.Timestamp]
) -> Iterator[Finding]:
    """Yield a finding for the first conformal fit that was given actuals from outside the
    calibration block, in raw or in model units. Rows with a gap, rows that are not in the data, and
    values that also occur inside it are not judged.
    """
    targets = list(_targets_with_calibration_rows(panel, ends))
    for number, call in enumerate(base.calibration_calls):
        horizon = call["y"].shape[1]
        # every stretch of actuals → whether it lies inside the calibration block
        is_in_block: dict[bytes, bool] = {}
        for values, start, stop in targets:
            for row in range(len(values) - horizon + 1):
                key = _bytes_of_actuals(values[row : row + horizon])
                is_in_block[key] = is_in_block.get(key, False) or (
                    start <= row and row + horizon <= stop
                )
        given_keys = [_bytes_of_actuals(row) for row in call["y"] if np.isfinite(row).all()]
        outside = sum(not is_in_block.get(key, True) for key in given_keys)
        if outside:
            yield Finding(
                "calibration",
                "rows of the calibration calls",
                f"call {number}",
                f"{outside} of {len(given_keys)} rows given to calibration call {number} lie"
                " outside the calibration block",
            )
            return


def _targets_with_calibration_rows(
    panel: Panel, ends: dict[str, pd.Timestamp]
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield every target, in raw and in model units, with the first row of its calibration block
    and the row after the block.
    """
    for series in panel.series:
        start = count_rows_until(series.ds, ends["validation"])
        stop = count_rows_until(series.ds, ends["calibration"])
        for output, column in enumerate(panel.task.target):
            values = series.values[:, output]
            yield values, start, stop
            yield TRANSFORMS[column.transform].to_model_units(values), start, stop


def compare_forecasts(
    base: Sandbox, other: Sandbox, moment: pd.Timestamp, detector: str
) -> Iterator[Finding]:
    """Yield a finding for each table in which numbers of a cutoff up to `moment` differ between two
    runs, whose data differ after `moment`.

    The tables of the compare stage have intervals; a difference there is a finding about
    calibration.
    """
    for path in sorted([*base.trained.rglob("*.parquet"), *base.compared.rglob("*.parquet")]):
        other_path = other.paths.root / path.relative_to(base.paths.root)
        table = pd.read_parquet(path)
        if "cutoff" not in table:
            continue
        other_table = pd.read_parquet(other_path) if other_path.exists() else table.iloc[:0]
        base_values = _values_up_to(table, moment)
        other_values = _values_up_to(other_table, moment)
        name = path.parent.name
        kind = "forecast"
        noun = "forecasts"
        if path.is_relative_to(base.compared):
            kind = "calibration"
            noun = "intervals"
        if name == "naive" and table.equals(other_table):
            yield Finding(
                "beside",
                detector,
                name,
                f"repeating the last value gives the same when rows after {moment:%Y-%m-%d %H:%M}"
                " change",
            )
        if not base_values.index.equals(other_values.index):
            yield Finding(
                kind,
                detector,
                name,
                f"{name} has {len(base_values)} {noun}, then {len(other_values)} when rows after"
                f" {moment:%Y-%m-%d %H:%M} change",
            )
            continue
        pairs = zip(base_values.to_numpy(), other_values.to_numpy(), strict=True)
        n_differing = sum(not np.array_equal(a, b, equal_nan=True) for a, b in pairs)
        if n_differing:
            yield Finding(
                kind,
                detector,
                name,
                f"{n_differing} of {len(base_values)} {noun} of {name} change with rows after"
                " their cutoff",
            )


def check_tuning_slice(base: Sandbox, ends: dict[str, pd.Timestamp]) -> Iterator[Finding]:
    """Check that the rows for tuning end with the validation block."""
    slice_end = pd.read_parquet(base.prepared / "tuning.parquet", columns=["ds"])["ds"].max()
    if slice_end > ends["validation"]:
        yield Finding(
            "tuning",
            "end of the slice",
            "tuning.parquet",
            f"the slice for tuning reaches to {slice_end}, the validation block to"
            f" {ends['validation']}",
        )


def check_origins(base: Sandbox, panel: Panel, ends: dict[str, pd.Timestamp]) -> Iterator[Finding]:
    """Check that the targets of every origin of a block lie inside the block; a target after the
    last row counts as that row.
    """
    problem = Problem.of(panel, base.results.borders, REQUIRED_BLOCKS)
    starts = [pd.Timestamp.min, *ends.values()]
    for (name, end), start in zip(ends.items(), starts, strict=False):
        for series in panel.series:
            rows = problem.rows(series.unique_id, name)
            target_rows = rows[:, None] + np.arange(1, panel.task.horizon + 1)
            times = series.ds[np.clip(target_rows, 0, len(series) - 1)]
            is_outside = (times <= start.to_datetime64()) | (times > end.to_datetime64())
            n_outside = int(is_outside.any(axis=1).sum())
            if n_outside:
                yield Finding(
                    "blocks",
                    "origins of every block",
                    f"{series.unique_id}, {name}",
                    f"{n_outside} of {len(rows)} origins of the {name} block have targets"
                    " outside of it",
                )


def check_requested_targets(
    base: Sandbox, panel: Panel, ends: dict[str, pd.Timestamp]
) -> Iterator[Finding]:
    """Check that no fit, penalty or validation loss of a first fit used a target after the
    validation block.

    A request has only the length of its series, so two lengths are checked: the whole series, and
    the rows for tuning. A refit in the backtest gets a series of another length; its forecasts are
    compared instead.
    """
    allowed_rows_by_length = {
        len(s): count_rows_until(s.ds, ends["validation"]) for s in panel.series
    }
    allowed_rows_by_length |= {
        rows: rows for rows in allowed_rows_by_length.values() if rows not in allowed_rows_by_length
    }
    late_requests = Counter(
        (request.stage, request.purpose)
        for request in base.target_requests
        if request.last >= allowed_rows_by_length.get(request.rows, request.last + 1)
    )
    for (stage, purpose), count in late_requests.items():
        kind = "tuning" if stage == "tune" else purpose
        yield Finding(
            kind,
            "targets asked for",
            f"{purpose} of {stage}",
            f"{count} calls of the stage {stage} asked for targets after the validation block",
        )


def check_folds(base: Sandbox, task: Task) -> Iterator[Finding]:
    """Check that no fold of a cross-validation learns from a cutoff whose targets are also targets
    of a cutoff that scores the fold, or, for a skip, from a later cutoff whose lookback contains
    such targets.
    """
    least_after = {"skip": task.rows_per_origin, "training": task.horizon}
    for request in dict.fromkeys(base.fold_requests):
        if request.before < task.horizon or request.after < least_after[request.purpose]:
            nearest = min(request.before, request.after)
            yield Finding(
                "folds",
                "borders of the folds",
                f"{request.purpose} of {request.stage}",
                f"a fold of the stage {request.stage} learns from a cutoff {nearest} rows from one"
                " that it is scored on, without the embargo of lookback and horizon",
            )
            return


def _values_up_to(table: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """The numeric columns of a table for cutoffs up to `moment`, indexed by its columns in `KEYS`;
    without the actuals and the density at them, which may be changed.
    """
    keys = [key for key in KEYS if key in table]
    rows = table[table["cutoff"] <= moment].set_index(keys).sort_index()
    return rows.drop(columns=["y", "ds", "log_density"], errors="ignore").select_dtypes("number")


def _first_weights(record: RunRecord) -> Any:
    """A combination's weights on validation; None for another model. Its later weights may depend
    on the changed rows.
    """
    return record.weights[0].weights if record.weights else None


def _training_outcome(record: RunRecord) -> Any:
    """The parts of a record that later rows must not change: seeds with curves, and settings."""
    fields = {"seed", "status", "best_step", "steps_by_fold", "validation_loss", "curve"}
    seeds = [fit.model_dump(include=fields) for fit in record.seeds]
    return seeds, record.tuned, record.params


def _read_study(path: Path) -> dict[str, Any]:
    """The content of a study, without its name, which is a digest of all its data; {} where it is
    missing.
    """
    if not path.exists():
        return {}
    return {key: value for key, value in files.read_json(path).items() if key != "study"}


def list_fit_folders(base: Sandbox) -> list[str]:
    """The folders of all saved models, first and final fits; without the service's forecasts, which
    are not fitted.
    """
    names = [name for name, record in base.results.records.items() if record.family != "service"]
    folders: list[Path] = []
    for kind in ("chosen", "seed"):
        for name in names:
            folders += sorted((base.trained / name).glob(f"{kind}-*"))
    return [path.relative_to(base.trained).as_posix() for path in folders]


def differing_files(folder: Path, other_folder: Path) -> list[str]:
    """The files in `FINDING_KIND_BY_FILE` of the saved model in `folder` that are missing or
    different in `other_folder`.
    """
    return [
        name
        for name in FINDING_KIND_BY_FILE
        if (folder / name).exists() and not _has_equal_content(folder / name, other_folder / name)
    ]


def _has_equal_content(path: Path, other_path: Path) -> bool:
    """Whether both files have the same content: JSON by value but for `NOT_OF_THE_FIT`, arrays bit
    for bit; False where the other file is missing.
    """
    if not other_path.exists():
        return False
    if path.suffix == ".json":
        content = files.read_json(path) | NOT_OF_THE_FIT
        return bool(content == files.read_json(other_path) | NOT_OF_THE_FIT)
    return _has_equal_arrays(files.read_arrays(path), files.read_arrays(other_path))


def _has_equal_arrays(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Whether both have the same names, shapes and numbers; NaN equals NaN."""
    return a.keys() == b.keys() and all(
        np.array_equal(a[name], b[name], equal_nan=True) for name in a
    )


def _bytes_of_actuals(values: np.ndarray) -> bytes:
    """A stretch of actuals as bytes, in single precision: the last bit of a logarithm depends on
    how the loop over the values is compiled.
    """
    return np.ascontiguousarray(values, dtype=np.float32).tobytes()
