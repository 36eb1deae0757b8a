"""`Ensemble`, the model in service: the forecasters of one candidate, one per seed (often
a single one), and the calibration errors behind its intervals.

`load_trained_ensemble` reads it from the files of the train stage; `forecast_latest` makes the
table of forecasts and intervals that users see. The forecast is the mean over the seeds; that of a
combination is the weighted mean over its members, each the mean over its seeds. Intervals are split
conformal with the newest errors of the backtest, as in the compare stage. A saved ensemble is a
folder of JSON and arrays that is loaded without TensorFlow; `ensemble.json` has the digest of every
file, so a damaged copy is refused.

Another way than the mean to join seeds has to be followed wherever their stored forecasts are
joined: `calibrate_intervals` here, `comparison.scores.ForecastCube.seed_mean` (scores, losses,
intervals, charts), `comparison.levels`, `backtest.combinations` (members),
`api.model.tabulate_windows`, `report.panels`, `operations.registry` (errors of the newest
forecasts), `audit.rescored` and `audit.stored`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from forecast.config.task import Task
from forecast.data import calendars
from forecast.data.panel import Panel, add_series_names, series_name, target_number
from forecast.data.records import RunRecord
from forecast.data.scaling import Scaling
from forecast.forecaster.forecaster import Forecaster
from forecast.forecaster.intervals import (
    NO_CALIBRATION,
    BlockErrors,
    Difficulty,
    RankedPool,
    Season,
    SplitConformal,
    pool_short_series,
    usual_error,
    visible_volatility,
)
from forecast.networks.description import count_twins
from forecast.system import files
from forecast.system.errors import DamagedError, InputError, quote, quote_names

MANIFEST = "ensemble.json"
CALIBRATION_FILE = "calibration.npz"
SAVED_ARRAYS = {
    "": "scores",
    "-test": "test_scores",
    "-quiet": "is_quiet",
    "-test-quiet": "test_is_quiet",
}
"""Arrays of `CALIBRATION_FILE`: the ending of the name (after the number of the series) and the
field of `SplitConformal`.
"""
MAX_HORIZON_FACTOR = 10
"""A closed loop runs for at most this many trained horizons; after that it has settled to a value
or cycle that says nothing about the data.
"""


@dataclass(frozen=True)
class Ensemble:
    """The forecasters whose mean is the forecast in service, and the intervals around it.

    `forecasters`: one per seed; of a combination one per seed of each member. `calibrated`: by
    series (`uid`, or `uid/output` with several targets) the calibration errors of that mean.

    For a combination only: `members`, the candidate that each forecaster is a seed of; `weights` of
    these candidates; `rule`, the options of its entry in configs/models.yaml where a backtest
    learns the weights again.
    """

    forecasters: tuple[Forecaster, ...]
    calibrated: Mapping[str, SplitConformal] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    rule: Mapping[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """The task that all forecasters were trained for."""
        return self.forecasters[0].task

    @property
    def dataset_name(self) -> str:
        """The dataset that all forecasters were trained on."""
        return self.forecasters[0].dataset_name

    @property
    def scaling(self) -> Scaling:
        """The scaling of the fit; the keys of its fields are the series of the fit."""
        return self.forecasters[0].scaling

    def select_newest_rows(self, history: pd.DataFrame) -> pd.DataFrame:
        """The rows of a long frame that a forecast from its end may read."""
        return history.groupby("unique_id", sort=False).tail(self.count_rows_read(len(history)))

    def count_rows_read(self, n_rows: int) -> int:
        """How many of the newest `n_rows` of a series a forecast may read: a lookback and a season,
        or all where `needs_whole_history`. A model in service never sees more.
        """
        if self.needs_whole_history:
            return n_rows
        return min(n_rows, self.task.lookback + self.task.season_length)

    @property
    def needs_whole_history(self) -> bool:
        """Whether a model carries its state on from the first train row (`starts_at_train_end`) and
        so needs every row since.
        """
        return any(forecaster.spec.starts_at_train_end for forecaster in self.forecasters)

    def predict(self, panel: Panel, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Forecasts (n, H, O) per series, in raw units, made at `rows` (n,): the mean over the
        seeds, or the weighted mean over the members.
        """
        # joined seeds round differently from single ones, so a backtest does not join them
        is_request = all(len(at) == 1 for at in rows.values())
        forecasters = self._joined_seeds if is_request else list(self.forecasters)
        if is_request and len(forecasters) > 1:
            panel = panel.with_shared_windows()
        y_hats: dict[str, list[np.ndarray]] = {uid: [] for uid in rows}
        for forecaster in forecasters:
            n_joined = count_twins(forecaster.weights)
            repeated = {uid: np.repeat(at, n_joined) for uid, at in rows.items()}
            for uid, y_hat in forecaster.predict(panel, repeated).items():
                y_hats[uid] += [y_hat[number::n_joined] for number in range(n_joined)]
        if not self.members:
            return {uid: np.mean(each, axis=0) for uid, each in y_hats.items()}
        # the seeds of a member share its weight
        weights = [self.weights[name] / self.members.count(name) for name in self.members]
        return {uid: np.tensordot(weights, each, axes=1) for uid, each in y_hats.items()}

    @cached_property
    def _joined_seeds(self) -> list[Forecaster]:
        """The forecasters, with neighbouring seeds of one network joined into one where they can be
        (`Forecaster.join_twin`).
        """
        joined: list[Forecaster] = []
        for forecaster in self.forecasters:
            with_seed = joined[-1].join_twin(forecaster) if joined else None
            if with_seed is None:
                joined.append(forecaster)
            else:
                joined[-1] = with_seed
        return joined

    def with_horizon(self, horizon: int) -> Ensemble:
        """This ensemble, with a longer horizon where `horizon` is longer. `InputError` below 1, and
        for more steps than the model can forecast.
        """
        trained = self.task.horizon
        if horizon < 1:
            raise InputError(f"Horizon {horizon}: wanted at least 1 step.")
        if horizon <= trained:
            return self
        is_fixed = any(
            not f.spec.can_extend_horizon or f.correction is not None for f in self.forecasters
        )
        if is_fixed:
            raise InputError(
                f"Horizon {horizon}: the model forecasts {trained} steps at once and cannot go on"
                f" from there. Ask for at most {trained}, or train it with a larger `horizon`."
            )
        is_loop = any(f.spec.is_recursive for f in self.forecasters)
        if is_loop and horizon > MAX_HORIZON_FACTOR * trained:
            raise InputError(
                f"Horizon {horizon}: at most {MAX_HORIZON_FACTOR * trained} steps,"
                f" {MAX_HORIZON_FACTOR} times what the model was trained for. Ask for fewer, or"
                " train it with a larger `horizon`."
            )
        longer = self.task.model_copy(update={"horizon": horizon})
        return replace(self, forecasters=tuple(replace(f, task=longer) for f in self.forecasters))

    def without_reconciliation(self) -> Ensemble:
        """This ensemble without reconciliation: every series and sum is forecast by itself."""
        return replace(
            self, forecasters=tuple(replace(f, reconciliation=None) for f in self.forecasters)
        )

    def calibration(self, series: str) -> SplitConformal:
        """The calibration errors of `series`; `InputError` where it has none."""
        if series not in self.calibrated:
            raise InputError(
                f"No interval of {series!r}: there are no calibration errors. {NO_CALIBRATION}"
            )
        return self.calibrated[series]

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs into `folder`, which is empty or does not exist yet,
        with the digest of every file.
        """
        for number, forecaster in enumerate(self.forecasters):
            forecaster.save(folder / f"forecaster-{number}")
        names = sorted(self.calibrated)
        arrays: dict[str, np.ndarray] = {}
        calibration = {}
        for i, name in enumerate(names):
            conformal = self.calibrated[name]
            for ending, field_name in SAVED_ARRAYS.items():
                arrays[f"{i:04d}{ending}"] = getattr(conformal, field_name)[:, 0]
            arrays[f"{i:04d}-season"] = conformal.season.factors
            arrays[f"{i:04d}-season-quiet"] = conformal.season.is_quiet
            pooled_target = target_number(name, self.task.targets)
            if (pool := conformal.newest.ranked_pool) is not None:
                arrays[f"pool-{pooled_target}"] = pool.calibration
                arrays[f"pool-{pooled_target}-newest"] = pool.newest
            calibration[name] = {
                "typical_volatility": files.json_number(conformal.typical),
                "lookback": conformal.lookback,
                "transform": conformal.transform,
                "step_size": conformal.step_size,
                "usual_error": files.json_number(conformal.usual_errors[0]),
                "highest": files.json_number(conformal.newest.highest[0]),
                "pooled_target": None if conformal.ranked_pool is None else pooled_target,
            }
        files.write_arrays(folder / CALIBRATION_FILE, arrays)
        content: dict[str, Any] = {
            "schema": files.ENSEMBLE_SCHEMA,
            "forecasters": len(self.forecasters),
            "series": names,
            "files": _digest_files(folder),
            "calibration": calibration,
        }
        if self.members:
            content |= {
                "members": list(self.members),
                "weights": dict(self.weights),
                "rule": dict(self.rule),
            }
        files.write_json(folder / MANIFEST, content)

    @classmethod
    def load(cls, folder: Path) -> Ensemble:
        """The saved ensemble; `DamagedError` for a missing or damaged file, `InputError` for
        another schema.
        """
        manifest = files.read_saved(folder / MANIFEST, files.ENSEMBLE_SCHEMA)
        digests = _digest_files(folder)
        for name, digest in sorted(manifest["files"].items()):
            if digests.get(name) != digest:
                fault = "is missing or not the file that was saved (its sha256 differs)"
                raise DamagedError(f"{folder}: {name} {fault}.")
        forecasters = tuple(
            Forecaster.load(folder / f"forecaster-{number}")
            for number in range(manifest["forecasters"])
        )
        arrays = files.read_arrays(folder / CALIBRATION_FILE)
        task = forecasters[0].task
        calibrated = {}
        for i, name in enumerate(manifest["series"]):
            saved = manifest["calibration"][name]
            target = task.target[target_number(name, task.targets)]
            of_series: dict[str, Any] = {
                field_name: arrays[f"{i:04d}{ending}"][:, None]
                for ending, field_name in SAVED_ARRAYS.items()
            }
            pool = None
            if (pooled := saved["pooled_target"]) is not None:
                pool = RankedPool(arrays[f"pool-{pooled}"], arrays[f"pool-{pooled}-newest"])
            calibrated[name] = SplitConformal(
                **of_series,
                typical=np.asarray(saved["typical_volatility"] or 0.0),
                lookback=saved["lookback"],
                transform=saved["transform"],
                limits=target.limits,
                season=Season(arrays[f"{i:04d}-season"], arrays[f"{i:04d}-season-quiet"]),
                step_size=saved["step_size"],
                ranked_pool=pool,
                usual_errors=np.array([saved["usual_error"]], dtype=float),
                highest=np.array([np.inf if saved["highest"] is None else saved["highest"]]),
            )
        members = tuple(manifest.get("members", ()))
        weights = manifest.get("weights", {})
        require_members(weights, members, where=str(folder / MANIFEST))
        return cls(forecasters, calibrated, members, weights, manifest.get("rule", {}))


def require_members(weights: Iterable[str], present: Iterable[str], *, where: str) -> None:
    """`DamagedError` that names the members with a weight and without a saved forecaster."""
    missing = sorted(set(weights) - set(present))
    if missing:
        raise DamagedError(
            f"{where}: weights for {quote_names(missing)}, of which no saved forecaster is there."
            " Train the combination again (`forecast run`), or promote another version."
        )


def load_trained_ensemble(folder: Path) -> Ensemble:
    """The ensemble of one trained candidate, from its folder of data/trained/: the saved
    forecasters, the record's weights and the calibration errors of their mean. `InputError` where
    training left no forecaster, `DamagedError` where a member's are missing.
    """
    ensemble = load_without_calibration(folder)
    forecasts = pd.read_parquet(folder / "forecasts.parquet")
    return replace(ensemble, calibrated=calibrate_intervals(forecasts, ensemble.task))


def load_without_calibration(folder: Path) -> Ensemble:
    """The ensemble of `load_trained_ensemble` without calibration errors, so without intervals:
    calibrating thousands of series takes seconds.
    """
    record = RunRecord.read(folder / "record.json")
    weights = {member.candidate: member.weight for member in record.members}
    rule = record.params if len(record.weights) > 1 else {}
    names: list[str] = []
    seeds: list[Path] = []
    for name in weights:
        models = list_served_models(folder / "members" / name)
        names += [name] * len(models)
        seeds += models
    require_members(weights, names, where=str(folder))
    seeds = seeds or list_served_models(folder)
    if not seeds:
        raise InputError(
            f"{folder}: has no saved forecaster; its training failed. Choose another candidate."
        )
    loaded = tuple(Forecaster.load(seed) for seed in seeds)
    return Ensemble(loaded, {}, tuple(names), weights, rule)


def list_served_models(folder: Path) -> list[Path]:
    """The folders of a candidate's saved forecasters, ordered by seed. Where the candidate was
    fitted again during its backtest: those of the newest fit that saw no target of the test block.
    """

    def seed(path: Path) -> int:
        return int(path.name.partition("-")[2])

    folders = [*folder.glob("newest-*")] or [*folder.glob("seed-*")]
    return sorted(folders, key=seed)


def calibrate_intervals(forecasts: pd.DataFrame, task: Task) -> dict[str, SplitConformal]:
    """The `SplitConformal` of each series and target, from the forecasts.parquet of a candidate:
    from the errors of the mean over its seeds on the calibration and test blocks, resized by those
    on the validation block.

    Errors are in model units (after the target's transform), as in the compare stage: those of a
    `log` target are ratios.
    """
    targets = {column.name: column for column in task.target}
    mean = add_series_names(_mean_over_seeds(forecasts))
    blocks_of: defaultdict[tuple[str, str], dict[str, BlockErrors]] = defaultdict(dict)
    for key, rows in mean.groupby(["series", "output", "block"], sort=True):
        name, output, block = map(str, key)
        blocks_of[name, output][block] = block_errors(rows, task)
    by_target: defaultdict[str, dict[str, SplitConformal]] = defaultdict(dict)
    for (name, output), blocks in blocks_of.items():
        if "calibration" not in blocks:
            continue
        conformal = SplitConformal.of_blocks(blocks, task, targets[output])
        known = [blocks[block][:2] for block in ("calibration", "validation") if block in blocks]
        error = usual_error(known, targets[output].transform)
        by_target[output][name] = replace(conformal, usual_errors=np.array([error]))
    calibrated: dict[str, SplitConformal] = {}
    for of_target in by_target.values():
        calibrated |= pool_short_series(of_target, are_numbered=task.calendar.counts_rows)
    return calibrated


def _mean_over_seeds(forecasts: pd.DataFrame) -> pd.DataFrame:
    """The mean forecast over the seeds: one row per block, series, target, cutoff and step, in this
    order.
    """
    keys = ["block", "unique_id", "output", "cutoff", "step"]
    targets = forecasts.groupby(keys, observed=True)
    # the same for every seed
    shared = targets[["ds", "volatility"]].first()
    return targets[["y", "y_hat"]].mean().join(shared).reset_index()


def block_errors(rows: pd.DataFrame, task: Task) -> BlockErrors:
    """Actuals (n, H), mean forecasts (n, H) and difficulty of one target of one series in one
    block; `rows` are in the order of cutoffs and steps.
    """
    shape = (-1, rows["step"].nunique())
    y, y_hat, volatility, ds = (
        rows[name].to_numpy().reshape(shape) for name in ("y", "y_hat", "volatility", "ds")
    )
    return y, y_hat, Difficulty.of_targets(volatility[:, 0], ds, task)


def forecast_latest(
    ensemble: Ensemble, panel: Panel, *, horizon: int, levels: Sequence[float]
) -> dict[str, np.ndarray]:
    """The table of forecasts after the last row of each series, as columns by name: `unique_id,
    output, cutoff, step, ds, y_hat`, and the interval ends of each level (percent): `lo_80, hi_80`.

    `ensemble` must reach `horizon`, and `panel` be made with its task. Interval ends are NaN for a
    series that has too few errors for a level; `InputError` where every series has too few.
    """
    if unsupported := judge_levels(ensemble, panel, levels).unsupported:
        raise InputError(unsupported[0])
    targets = ensemble.task.target
    values = ensemble.predict(panel, {s.unique_id: np.array([len(s) - 1]) for s in panel.series})
    parts = []
    for series in panel.series:
        cutoff = pd.Timestamp(series.ds[-1])
        scaling = ensemble.scaling
        (before,) = visible_volatility(scaling, series, [len(series) - 1], ensemble.task)
        calendar = ensemble.task.calendar
        ds = calendars.next_steps(calendar, cutoff, horizon).to_numpy()
        for output, column in enumerate(targets):
            y_hat = values[series.unique_id][0, :horizon, output]
            label = series_name(series.unique_id, column.name, targets)
            part: dict[str, Any] = {
                "unique_id": series.unique_id,
                "output": column.name,
                "cutoff": cutoff.to_datetime64(),
                "step": np.arange(1, horizon + 1),
                "ds": ds,
                "y_hat": y_hat,
            }
            difficulty = Difficulty.of_targets(before[[output]], ds[None], ensemble.task)
            for level in levels:
                low = high = np.nan
                if not _explain_unsupported(ensemble, label, level):
                    newest = ensemble.calibration(label).newest
                    (low,), (high,) = newest.bounds(y_hat[None], difficulty, level / 100)
                part[f"lo_{level:g}"] = low
                part[f"hi_{level:g}"] = high
            parts.append(part)
    table = {}
    for name in parts[0]:
        columns = [np.broadcast_to(part[name], horizon) for part in parts]
        table[name] = np.concatenate(columns)
    return table


class JudgedLevels(NamedTuple):
    """Which interval levels (percent) the calibration errors of a panel's series support."""

    supported: tuple[float, ...]
    """Levels with enough errors in at least one series."""
    unsupported: tuple[str, ...]
    """A sentence on each other level."""
    incomplete: tuple[str, ...]
    """A sentence on each supported level for which some series have too few errors."""


def judge_levels(ensemble: Ensemble, panel: Panel, levels: Iterable[float]) -> JudgedLevels:
    """Which of `levels` (percent) the calibration errors of the series of `panel` support. The
    sentence on a missing level gives the reason for the first series that lacks it.
    """
    targets = panel.task.targets
    names = [series_name(s.unique_id, target, targets) for s in panel.series for target in targets]
    supported, unsupported, incomplete = [], [], []
    for level in levels:
        reasons = [*filter(None, (_explain_unsupported(ensemble, name, level) for name in names))]
        if reasons and len(reasons) == len(names):
            unsupported.append(reasons[0])
            continue
        supported.append(level)
        if reasons:
            incomplete.append(
                f"No interval of {level:g} % for {len(reasons)} of {len(names)}"
                f" series. {reasons[0]}"
            )
    return JudgedLevels(tuple(supported), tuple(dict.fromkeys(unsupported)), tuple(incomplete))


def _explain_unsupported(ensemble: Ensemble, name: str, level: float) -> str:
    """Why the series of this name has no interval of `level` (percent); empty where it has one."""
    try:
        ensemble.calibration(name).newest.require(level / 100)
    except InputError as error:
        has_errors = name in ensemble.calibrated
        return f"Series {quote(name)}: {error}" if has_errors else str(error)
    return ""


def read_levels(levels: float | Sequence[float] | None) -> tuple[float, ...]:
    """The given levels (percent) without duplicates, in their order; empty for None. `InputError`
    for a level that is no number from 1 to below 100.
    """
    percents: tuple[float, ...] = ()
    if isinstance(levels, Iterable):
        percents = tuple(levels)
    elif levels is not None:
        percents = (levels,)
    for level in percents:
        if not isinstance(level, Real) or not 1 <= level < 100:
            raise InputError(
                f"levels={levels!r}: found {level!r}, wanted percent from 1 to below 100, as [80,"
                " 95]."
            )
    return tuple(dict.fromkeys(map(float, percents)))


def _digest_files(folder: Path) -> dict[str, str]:
    """The sha256 of every file below `folder` but the manifest, by its path there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): files.sha256(path) for path in paths}
