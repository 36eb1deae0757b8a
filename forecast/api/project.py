"""From a call to the stages: a project in a temporary folder, with the frame as its one dataset.

The stages that run there are those of `dvc repro`, so the same data and settings give the same
numbers. Nothing is written outside of the temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from forecast.api.frames import NAME, WHERE, Names, long_frame, over_horizon, require_whole, several
from forecast.api.packaged import packaged, require_installed
from forecast.backtest.candidates import left_out
from forecast.backtest.training import train_dataset
from forecast.backtest.tuning import tune_dataset
from forecast.comparison.multiple_comparisons import model_confidence_set
from forecast.config.datasets import Dataset
from forecast.config.experiment import COMBINATION, Models, Tuning, load_models, load_tuning
from forecast.config.paths import ProjectPaths
from forecast.config.reading import Config, validated
from forecast.config.task import Calendar, RegularCalendar
from forecast.data import quality
from forecast.data.calendars import grid, lengths, usual_features
from forecast.data.guesses import spans
from forecast.data.preparation import prepare_dataset
from forecast.data.results import Results
from forecast.models import catalogue, spec
from forecast.system import files
from forecast.system.errors import InputError, counted, nearest
from forecast.system.stage import default_jobs

BUDGETS = {"quick": "demo", "full": "."}
"""Folder of the packaged configs whose tuning.yaml is meant."""
NEEDED = {"statistical": ["statsforecast"], "regression": ["sklearn"]}
"""Packages of the extras by the kind of a family."""
# rules whose findings are a `UserWarning`: what no option of a call tells
TOLD = ("spikes", "clock_change")
MOST_MISSING = 0.2
MOST_CALIBRATION = 1000
FORMER_STEPS = {"H": "h", "T": "min", "S": "s", "M": "MS", "Q": "QS", "Y": "YS", "A": "YS"}
"""What pandas called its steps before version 3, and calls them now (of a month's end ME, and so
on).
"""


class Step(Config):
    """What `freq` may be beside a step: a calendar of sessions or weekdays."""

    freq: Calendar


@dataclass(frozen=True)
class Question:
    """What is forecast from what: a checked frame, its entry of datasets.yaml, the caller's names
    of its columns.
    """

    frame: pd.DataFrame
    entry: Mapping[str, Any]
    names: Names

    @property
    def dataset(self) -> Dataset:
        return validated(Dataset, dict(self.entry), where="forecast")

    @property
    def steps(self) -> int:
        """The time steps of all series, each counted once."""
        return len(_steps(self.frame, self.dataset.calendar))

    def with_splits(self, splits: Mapping[str, Any]) -> Question:
        """With the caller's own; `InputError` for shares or dates that are not as datasets.yaml
        wants them.
        """
        asked = replace(self, entry={**self.entry, "splits": splits})
        _ = asked.dataset
        return asked

    def with_steps(self, step_size: int) -> Question:
        return replace(self, entry={**self.entry, "step_size": int(step_size)})

    def cut(self, test: int) -> Question:
        """The last `test` steps as test block, what lies before it in three; a thousand origins
        calibrate.
        """
        task = self.dataset.task
        found = shares(self.frame, task.calendar, task.lookback, task.horizon, test)
        every = max(1, round(found["calibration"] * self.steps) // MOST_CALIBRATION)
        return replace(self, entry={**self.entry, "splits": found, "calibration_step_size": every})


def question(
    df: Any,
    *,
    freq: str | Mapping[str, Any],
    horizon: int,
    lookback: int | None,
    season_length: int | None,
    past_exogenous: str | Sequence[str | Mapping[str, Any]],
    future_exogenous: str | Sequence[str | Mapping[str, Any]],
    calendar_features: Sequence[str] | None,
    names: Names,
    **asked: Any,
) -> Question:
    """The call as an entry of datasets.yaml; `InputError` for a frame or an option that is not as
    wanted.

    asked: `transform` and `difference_inputs` of the target.
    """
    require_whole(horizon=horizon, lookback=lookback, season_length=season_length)
    calendar = _calendar(freq)
    target = [{"column": name, **asked} for name in names.target_col]
    past = _columns("past_exogenous", past_exogenous)
    future = [
        {"known_ahead": True, **one} for one in _columns("future_exogenous", future_exogenous)
    ]
    observed, plans = (
        [str(column.get("column")) for column in group] for group in ((*target, *past), future)
    )
    frame = long_frame(df, names, [*observed, *plans], calendar)
    frame = over_horizon(frame, plans, observed, horizon, calendar, where=WHERE) if plans else frame
    steps = len(_steps(frame, calendar))
    features = usual_features(calendar, steps) if calendar_features is None else calendar_features
    season = season_length or _season(calendar, steps)
    entry = {
        "title": ", ".join(names.target_col),
        "source": {"kind": "file", "path": f"data/{NAME}.parquet"},
        "calendar": calendar.model_dump(mode="json"),
        "target": [_bounded(column, frame, calendar) for column in target],
        "past_exogenous": [_bounded(column, frame, calendar) for column in past],
        "future_exogenous": future,
        "calendar_features": list(several("calendar_features", features)),
        "horizon": int(horizon),
        "lookback": int(lookback or _lookback(season, horizon, steps)),
        "season_length": int(season),
        "step_size": max(1, horizon // 4),
        "splits": {"train": 0.5, "validation": 0.2, "calibration": 0.1},
        "licence": {"name": "the caller's", "attribution": "handed in as a frame"},
    }
    asked_for = Question(frame, entry, names)
    _ = asked_for.dataset  # a wrong option is told before anything is computed
    return asked_for


def _columns(option: str, named: str | Sequence[str | Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entries of datasets.yaml of one name, or of names and entries."""
    return [
        {"column": one} if isinstance(one, str) else dict(one) for one in several(option, named)
    ]


def _calendar(freq: str | Mapping[str, Any]) -> Calendar:
    """`InputError` for a step that pandas does not know, with today's name of one it knew."""
    if isinstance(freq, Mapping):
        if freq.get("kind") == "sessions":
            require_installed("exchange_calendars", f"freq={dict(freq)}")
        return validated(Step, {"freq": dict(freq)}, where="forecast").freq
    step = str(getattr(freq, "freqstr", freq))  # or an offset of pandas
    try:
        return validated(RegularCalendar, {"kind": "regular", "freq": step}, where="freq")
    except InputError:
        today = FORMER_STEPS.get(step.lstrip("0123456789"))
        usual = "Wanted a step such as '15min', '1h', '1D', 'B', 'W-SUN' or 'MS'"
        meant = f"Pass '{step[:-1]}{today}'" if today else usual
        raise InputError(f"freq={freq!r}: unknown step. {meant}.") from None


def _season(calendar: Calendar, steps: int) -> int:
    """The usual season of the step, a day of minutes at most; none (1) of sessions, and where fewer
    than four of them were observed.
    """
    season = spans(calendar)[0] if isinstance(calendar, RegularCalendar) else 1
    return season if season <= min(steps // 4, 1440) else 1


def _lookback(season: int, horizon: int, steps: int) -> int:
    """Seven seasons, two horizons or 32 steps, whichever is most; at most an eighth of the series
    or a season.
    """
    return max(min(max(7 * season, 2 * horizon, 32), steps // 8), season, 2)


def _steps(frame: pd.DataFrame, calendar: Calendar) -> np.ndarray:
    spans = frame.groupby("unique_id")["ds"].agg(["first", "last"])
    return np.unique(
        np.concatenate([grid(calendar, first, last).to_numpy() for first, last in spans.to_numpy()])
    )


def _bounded(column: Mapping[str, Any], frame: pd.DataFrame, calendar: Calendar) -> dict[str, Any]:
    """The column with room for what it misses; `InputError` where that is more than a fifth of a
    series.
    """
    steps = lengths(frame, calendar)
    missing = steps - frame.groupby("unique_id")[column["column"]].count()
    for unique_id in (
        missing.index[missing > MOST_MISSING * steps] if "max_missing" not in column else ()
    ):
        cure = "Fill them, begin later, or pass a `freq` that fits."
        if frame["ds"][frame["unique_id"] == unique_id].dt.day_of_week.max() < 5:
            sessions = "{'kind': 'sessions', 'exchange': 'XNYS'}"
            cure = (
                "No row is of a weekend: pass freq='B', or the sessions of an exchange,"
                f" freq={sessions}."
            )
        raise InputError(
            f"{WHERE}, series {unique_id!r}: column {column['column']!r} has no value at"
            f" {missing[unique_id]} of {steps[unique_id]} time steps; wanted at most"
            f" {MOST_MISSING:.0%}. {cure}"
        )
    return {"max_missing": MOST_MISSING if (missing > 0).any() else 0.0, **column}


def shares(
    frame: pd.DataFrame, calendar: Calendar, lookback: int, horizon: int, test: int
) -> dict[str, float]:
    """Of all steps but the last `test`: a tenth to calibrate intervals on, 15 % to choose on, the
    rest to fit.

    Short series give calibration more, up to a quarter: 39 origins support an interval of 97.5 %.
    `InputError` where a series is too short for a block.
    """
    steps = _steps(frame, calendar)
    rest = len(steps) - test
    calibration = min(max(rest // 10, horizon + 38), rest // 4)
    validation = min(max(3 * rest // 20, 2 * horizon), rest // 4)
    train = rest - validation - calibration
    stops = np.maximum(np.cumsum([train, validation, calibration]), 1)
    needs = {
        "train": lookback + horizon,
        "validation": horizon,
        "calibration": horizon,
        "test": horizon,
    }
    for unique_id, rows in frame.groupby("unique_id", sort=True):
        own = grid(calendar, rows["ds"].iloc[0], rows["ds"].iloc[-1]).to_numpy()
        edges = [0, *np.searchsorted(own, steps[stops - 1], side="right"), len(own)]
        for (block, need), start, stop in zip(needs.items(), edges, edges[1:], strict=False):
            if stop - start < need:
                raise InputError(
                    f"{WHERE}, series {unique_id!r}: {len(own)} time steps are too few for"
                    f" horizon={horizon}, lookback={lookback} and {counted(test, 'step')} of test:"
                    f" {stop - start} of them fall into the {block} block, wanted at least {need}."
                    " Pass a shorter `horizon` or `lookback` or fewer windows, or leave out series"
                    " that begin late or end early."
                )
    found = np.array([train, validation, calibration]) / len(steps)
    return dict(zip(("train", "validation", "calibration"), found.tolist(), strict=True))


def entries(models: str | Sequence[str | Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name → entry of models.yaml, of names of the packaged catalogue and families, and of entries
    of one's own.

    An entry of one's own is named by its key `name`, else by its family.
    """
    known = load_models(packaged() / "configs").models
    found: dict[str, dict[str, Any]] = {}
    for model in (
        models
        if isinstance(models, Iterable) and not isinstance(models, str | Mapping)
        else (models,)
    ):
        if isinstance(model, str):
            if model not in known and model not in catalogue():
                raise InputError(
                    f"Model {model!r} is unknown.{nearest(model, {*known, *catalogue()})}."
                )
            name, entry = model, dict(known.get(model, {"family": model}))
        elif not isinstance(model, Mapping) or "family" not in model:
            raise InputError(
                f"Model {model!r}: wanted a name such as 'gru', or an entry such as {{'family':"
                " 'gru', 'units': 16}. Several models go to `forecast.compare`."
            )
        else:
            entry = dict(model)
            name = str(entry.pop("name", entry["family"]))
        if not re.fullmatch(r"\w[^/\\\0]{0,63}", name) or name in (
            "unique_id",
            "ds",
            "cutoff",
            "y",
            "output",
        ):
            raise InputError(
                f"Model name {name!r}: wanted letters, digits, '_' and '-', and no column's name."
            )
        if found.setdefault(name, entry) != entry:
            raise InputError(
                f"Two models are called {name!r}; wanted a name each. Give an entry its own:"
                " `name`."
            )
    for name, entry in found.items():
        if entry.get("family") != COMBINATION:
            # a wrong key is told here, with the nearest right one
            spec(entry, where=f"model {name!r}")
    return found


def budget(tuning: str | Mapping[str, Any] | None, **own: Any) -> Tuning:
    """`quick`, `full`, or the keys of tuning.yaml that differ from `full`; None is `full` without
    its trials.
    """
    changed = dict(tuning) if isinstance(tuning, Mapping) else {}
    if not isinstance(tuning, Mapping | None) and str(tuning) not in BUDGETS:
        raise InputError(f"tuning={tuning!r} is unknown.{nearest(str(tuning), BUDGETS)}.")
    usual = load_tuning(packaged() / "configs" / BUDGETS.get(str(tuning), "."))
    return validated(Tuning, {**usual.model_dump(), **changed, **own}, where="tuning")


def run(
    folder: Path,
    asked: Question,
    models: Mapping[str, Mapping[str, Any]],
    tuning: Tuning,
    *,
    n_jobs: int | None,
    tuned: bool,
) -> Results:
    """Stages prepare, tune (where `tuned`) and train in `folder`; the results that they left
    there.
    """
    paths = ProjectPaths.of(folder)
    _write(paths, asked, models, tuning)
    for name, why in left_out(
        load_models(paths.configs), season_length=asked.entry["season_length"]
    ).items():
        raise InputError(
            f"Model {name!r} does not suit these data: {why}. Leave it out, or pass"
            " `season_length`."
        )
    _require_installed(paths, tuned=tuned)
    require_whole(n_jobs=None if n_jobs in (0, -1) else n_jobs)
    jobs = n_jobs or default_jobs(os.environ)
    with _environment_kept():
        prepare_dataset(paths, NAME)
        found = (
            quality.Violation(**one) for one in files.read_json(paths.quality(NAME))["findings"]
        )
        for said in quality.sentences([one for one in found if one.rule in TOLD]):
            warnings.warn(f"{WHERE}: {said.removeprefix('warn ')}", stacklevel=5)
        if tuned:
            tune_dataset(paths, NAME, jobs=jobs)
        train_dataset(paths, NAME, jobs=jobs, best_set=model_confidence_set)
    return Results(paths, NAME)


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    """What stages set for their own process, such as one thread for BLAS, is not left to the
    caller's.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _write(
    paths: ProjectPaths, asked: Question, models: Mapping[str, Mapping[str, Any]], tuning: Tuning
) -> None:
    usual = yaml.safe_load((packaged() / "configs" / "models.yaml").read_text(encoding="utf-8"))
    grid_ = {
        "grid": "asked",
        "grids": {"asked": list(models)},
        "rankings": ["shipped"],
        "refit": "never",
    }
    known = {**usual["models"], **models}  # a combination may name rows that are not asked for
    contents = {
        "datasets": {"run": [NAME], "datasets": {NAME: dict(asked.entry)}},
        "models": {**usual, **grid_, "models": known},
        "tuning": tuning.model_dump(mode="json"),
        "evaluation": yaml.safe_load(
            (packaged() / "configs" / "evaluation.yaml").read_text(encoding="utf-8")
        ),
    }
    for name, content in contents.items():
        files.write_text(
            paths.configs / f"{name}.yaml",
            yaml.safe_dump(content, sort_keys=False, allow_unicode=True),
        )
    validated(Models, contents["models"], where="models")
    files.write_frame(paths.raw(NAME), asked.frame)


def _require_installed(paths: ProjectPaths, *, tuned: bool) -> None:
    """`InputError` with what to type where a model needs a package that only an extra brings."""
    for name, entry in load_models(paths.configs).selected().items():
        family = catalogue()[str(entry["family"])]
        wanted = ["tensorflow", "numba"] if family.uses_tensorflow else NEEDED.get(family.kind, [])
        for package in [
            *wanted,
            *(["optuna"] if tuned and (family.on_skip or family.kind == "regression") else []),
        ]:
            require_installed(package, f"Model {name!r}")
