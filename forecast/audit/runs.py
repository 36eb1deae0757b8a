"""Two runs of the pipeline compared: what had to come out equal and did not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.audit import Finding
from forecast.audit.changes import rows_until
from forecast.audit.sandbox import Sandbox
from forecast.data.panel import Panel
from forecast.data.records import RunRecord
from forecast.data.scaling import transform
from forecast.data.splits import Borders
from forecast.forecaster import Problem
from forecast.system import files

PARTS = {
    "scaling.json": "scaling",
    "skip.npz": "skip",
    "correction.npz": "skip",
    "weights.npz": "training",
    "head.npz": "training",
    "dependence.npz": "training",
    "spec.json": "training",
}
"""File of a saved model to what it is a finding of."""
KEYS = ("unique_id", "cutoff", "step", "block", "seed", "output")


def fitted_before(
    base: Sandbox, other: Sandbox, fits: list[str], moment: pd.Timestamp, detector: str
) -> Iterator[Finding]:
    """Scaling, skip and weights of the saved models in the folders `fits`; `other` differs in rows
    after `moment`.
    """
    for folder in fits:
        for name in unlike_parts(base.trained / folder, other.trained / folder):
            text = f"{name} of {folder} changes with rows after {moment:%Y-%m-%d %H:%M}"
            yield Finding(PARTS[name], detector, folder.split("/")[0], text)


def chosen_before(
    base: Sandbox, other: Sandbox, moment: pd.Timestamp, detector: str
) -> Iterator[Finding]:
    """Tuning, learning curves and the chosen models; `other` differs in rows after the validation
    block.
    """
    since = f"changes with rows after {moment:%Y-%m-%d %H:%M}"
    for path in sorted(base.tuned.glob("*.json")):
        if _study(path) != _study(other.tuned / path.name):
            yield Finding("tuning", detector, path.stem, f"the study of {path.stem} {since}")
    later = other.records()
    kinds = (
        ("training", _outcome, "the training of {} (its validation curve or best step)"),
        # those of validation: later ones may follow what changed
        (
            "weights",
            lambda record: record.weights[0].weights if record.weights else None,
            "the members of {}, or their weights,",
        ),
    )
    for name, record in base.records().items():
        for kind, part, what in kinds:
            if name not in later or part(record) != part(later[name]):
                yield Finding(kind, detector, name, f"{what.format(name)} {since}")
    one, two = (s.verdict("chosen") for s in (base, other))
    if one != two:
        yield Finding(
            "choice", detector, "verdicts.json", f"the chosen model {since}: {one}, then {two}"
        )
    yield from _scales(base, other, since, detector)


def _scales(base: Sandbox, other: Sandbox, since: str, detector: str) -> Iterator[Finding]:
    """MAE / MASE is the scale of the train part, whatever the test block holds."""
    tables = [s.table("by_series.parquet") for s in (base, other)]
    if tables[0].empty or len(tables[0]) != len(tables[1]):
        return
    for error, scaled in (("mae", "mase"), ("rmse", "rmsse")):
        one, two = (
            table[error].to_numpy(float) / table[scaled].to_numpy(float) for table in tables
        )
        if not np.allclose(one, two, rtol=1e-8, equal_nan=True):
            yield Finding(
                "scores", detector, scaled.upper(), f"the scale of {scaled.upper()} {since}"
            )


def calibrated(
    base: Sandbox, other: Sandbox, moment: pd.Timestamp, detector: str
) -> Iterator[Finding]:
    """What conformal fits were given; `other` differs in rows after the calibration block."""
    for number, (one, two) in enumerate(zip(base.calibrated, other.calibrated, strict=False)):
        if any(not _equal(one[name], two[name]) for name in one):
            text = (
                f"calibration call {number} was given values that change with rows after"
                f" {moment:%Y-%m-%d %H:%M}"
            )
            yield Finding("calibration", detector, f"call {number}", text)
            return


def calibration_rows(
    base: Sandbox, panel: Panel, ends: dict[str, pd.Timestamp], detector: str
) -> Iterator[Finding]:
    """The actuals of every conformal fit stand in their series' calibration block, in raw or in
    modelled units.
    """
    targets = list(_targets(panel, ends))
    for number, call in enumerate(base.calibrated):
        horizon = call["y"].shape[1]
        # every stretch of actuals: whether it stands inside the calibration block
        known: dict[bytes, bool] = {}
        for values, start, stop in targets:
            for row in range(len(values) - horizon + 1):
                key = _key(values[row : row + horizon])
                known[key] = known.get(key, False) or (start <= row and row + horizon <= stop)
        seen = [_key(row) for row in call["y"] if np.isfinite(row).all()]
        outside = sum(not known.get(key, True) for key in seen)
        if outside:
            given = f"{outside} of {len(seen)} rows given to calibration call {number}"
            text = f"{given} lie outside the calibration block"
            yield Finding("calibration", detector, f"call {number}", text)
            return


def _targets(panel: Panel, ends: dict[str, pd.Timestamp]) -> Iterator[tuple[np.ndarray, int, int]]:
    """Every target, as it is and transformed, with the first row of its calibration block and the
    row after it.
    """
    for series in panel.series:
        start, stop = (rows_until(series.ds, ends[name]) for name in ("validation", "calibration"))
        for output, column in enumerate(panel.task.target):
            level = column.model_copy(
                update={"transform": column.transform.replace("diff", "") or "none"}
            )
            yield series.values[:, output], start, stop
            yield transform(series.values[:, output], level), start, stop


def forecasts_before(
    base: Sandbox, other: Sandbox, moment: pd.Timestamp, detector: str
) -> Iterator[Finding]:
    """Every table with a cutoff: rows made at or before `moment` must be the same numbers.

    Those of the compare stage are intervals around the forecasts; what changes them alone is their
    calibration.
    """
    for path in sorted([*base.trained.rglob("*.parquet"), *base.compared.rglob("*.parquet")]):
        twin = other.paths.root / path.relative_to(base.paths.root)
        table = pd.read_parquet(path)
        if "cutoff" not in table:
            continue
        after = pd.read_parquet(twin) if twin.exists() else table.iloc[:0]
        one, two = (_made_before(t, moment) for t in (table, after))
        name = path.parent.name
        kind, what = (
            ("forecast", "forecasts")
            if path.is_relative_to(base.trained)
            else ("calibration", "intervals")
        )
        if name == "naive" and table.equals(after):
            text = (
                f"repeating the last value gives the same when rows after {moment:%Y-%m-%d %H:%M}"
                " change"
            )
            yield Finding("beside", detector, name, text)
        if not one.index.equals(two.index):
            text = (
                f"{name} has {len(one)} {what}, then {len(two)} when rows after"
                f" {moment:%Y-%m-%d %H:%M} change"
            )
            yield Finding(kind, detector, name, text)
            continue
        differ = ~np.array(
            [_equal(a, b) for a, b in zip(one.to_numpy(), two.to_numpy(), strict=True)], dtype=bool
        )
        if differ.any():
            text = (
                f"{int(differ.sum())} of {len(one)} {what} of {name} change with rows after their"
                " cutoff"
            )
            yield Finding(kind, detector, name, text)


def blocks_in_order(
    base: Sandbox, ends: dict[str, pd.Timestamp], detector: str
) -> Iterator[Finding]:
    """Every scored forecast lies in the block it is labelled with, by the borders of the
    configuration.
    """
    names = list(ends)
    starts = dict(zip(names[1:], list(ends.values())[:-1], strict=True))
    for path in sorted(base.trained.glob("*/forecasts.parquet")):
        table = pd.read_parquet(path, columns=["unique_id", "cutoff", "ds", "block"])
        early = table["ds"] <= table["block"].map(starts)
        late = table["ds"] > table["block"].map(ends)
        if (early | late).any():
            bad = table[early | late].iloc[0]
            number = int((early | late).sum())
            text = (
                f"{number} targets lie outside their block, such as {bad['ds']} in {bad['block']}"
            )
            yield Finding("blocks", detector, path.parent.name, text)
    slice_end = pd.read_parquet(base.prepared / "tuning.parquet", columns=["ds"])["ds"].max()
    if slice_end > ends["validation"]:
        text = (
            f"the slice for tuning reaches to {slice_end}, the validation block to"
            f" {ends['validation']}"
        )
        yield Finding("tuning", detector, "tuning.parquet", text)


def origins_in_order(
    base: Sandbox, panel: Panel, ends: dict[str, pd.Timestamp], detector: str
) -> Iterator[Finding]:
    """The targets of every origin a fit or a score uses lie inside its block, by the borders of the
    configuration.
    """
    borders = Borders.from_json(files.read_json(base.prepared / "borders.json"))
    problem = Problem.of(panel, borders)
    for name, end in ends.items():
        start = (
            list(ends.values())[list(ends).index(name) - 1] if name != "train" else pd.Timestamp.min
        )
        for series in panel.series:
            rows = problem.rows(series.unique_id, name)
            ahead = series.ds[
                np.clip(rows[:, None] + np.arange(1, panel.task.horizon + 1), 0, len(series) - 1)
            ]
            outside = ((ahead <= start.to_datetime64()) | (ahead > end.to_datetime64())).any(axis=1)
            if outside.any():
                text = (
                    f"{int(outside.sum())} of {len(rows)} origins of the {name} block have targets"
                    " outside of it"
                )
                yield Finding("blocks", detector, f"{series.unique_id}, {name}", text)


def targets_asked_for(
    base: Sandbox, panel: Panel, ends: dict[str, pd.Timestamp], detector: str
) -> Iterator[Finding]:
    """No fit, penalty or validation loss asked for a target after the validation block.

    Two lengths of a series are known here: the whole, and what tuning may see. A fit at a later
    origin of a refit policy is given a series that ends there, of another length, and is examined
    by its forecasts.
    """
    stop = {len(s): rows_until(s.ds, ends["validation"]) for s in panel.series}
    stop |= {rows: rows for rows in stop.values() if rows not in stop}
    late = [a for a in base.asked if a.rows in stop and a.last >= stop[a.rows]]
    for asked in dict.fromkeys((a.stage, a.by) for a in late):
        stage, by = asked
        count = sum((a.stage, a.by) == asked for a in late)
        kind = "tuning" if stage == "tune" else by
        text = f"{count} calls of the stage {stage} asked for targets after the validation block"
        yield Finding(kind, detector, f"{by} of {stage}", text)


def _made_before(table: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """Predicted numbers of cutoffs up to `moment`, by origin; the actuals, and the density at them,
    may differ.
    """
    keys = [key for key in KEYS if key in table]
    rows = table[table["cutoff"] <= moment].set_index(keys).sort_index()
    return rows.drop(columns=["y", "ds", "log_density"], errors="ignore").select_dtypes("number")


def _outcome(record: RunRecord) -> Any:
    fields = {"seed", "status", "best_step", "steps_by_fold", "validation_loss", "curve"}
    seeds = [fit.model_dump(include=fields) for fit in record.seeds]
    return seeds, record.tuned, record.params


def _study(path: Path) -> dict[str, Any]:
    """Without its name, the digest of what it was given, the perturbed data among it."""
    return {k: v for k, v in files.read_json(path).items() if k != "study"} if path.exists() else {}


def every_fit(base: Sandbox) -> list[str]:
    """The folders of all saved models, as chosen and as fitted again; the provider's kept forecasts
    are no fit.
    """
    names = [name for name, record in base.records().items() if record.family != "service"]
    found = (
        p
        for kind in ("chosen", "seed")
        for name in names
        for p in sorted((base.trained / name).glob(f"{kind}-*"))
    )
    return [path.relative_to(base.trained).as_posix() for path in found]


def unlike_parts(one: Path, two: Path) -> list[str]:
    """Of the files (`PARTS`) of a saved model those that another does not have, or has
    otherwise.
    """
    return [name for name in PARTS if (one / name).exists() and not _same(one / name, two / name)]


def _same(one: Path, two: Path) -> bool:
    if not two.exists():
        return False
    if one.suffix == ".json":
        return bool(files.read_json(one) == files.read_json(two))
    a, b = files.read_arrays(one), files.read_arrays(two)
    return a.keys() == b.keys() and all(_equal(a[name], b[name]) for name in a)


def _equal(a: Any, b: Any) -> bool:
    """Bit for bit."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def _key(values: np.ndarray) -> bytes:
    """Of a stretch of actuals; single precision, since a logarithm's last bit is not the same in
    every loop.
    """
    return np.ascontiguousarray(values, dtype=np.float32).tobytes()
