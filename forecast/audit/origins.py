"""Audits prepared rows, scaling and forecasts by changing or cutting all rows after single moments.

The prepared rows up to such a moment, the scaling of the train block, and the forecasts of every
saved forecaster up to the moment must be equal bit for bit. A forecast that is made a lookback
later must differ; otherwise the comparison has shown nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.audit import Finding, data_checks
from forecast.audit.changes import (
    block_ends,
    count_rows_until,
    mirror,
    restore_plans,
    shake,
    shrink,
    thin_out,
    times_known,
)
from forecast.audit.sandbox import Change, Project, record_file_access, run_isolated, run_stages
from forecast.config.datasets import load_dataset
from forecast.data import calendars, splits
from forecast.data.columns import trim_to_observed
from forecast.data.panel import Panel, Series, from_frame
from forecast.data.scaling import Scaling
from forecast.forecaster import Forecaster
from forecast.system.errors import InputError

ROW_CHANGES = (shake, mirror, shrink, thin_out)
MOST_RANDOM_MOMENTS = 6
MOST_GAP_MOMENTS = 6
MOST_STALE_MOMENTS = 6
"""For all joined datasets together, but at least one for each."""
MOST_DIFFERING_MOMENTS = 4
SCALING_CALLS = 25
"""How often the scaling is fitted before it is compared: a leaking fit may be correct at first."""


@dataclass(frozen=True)
class PreparedPanel:
    """The panel that the stages prepare from a frame."""

    panel: Panel
    scaling: Scaling | None = None
    """The scaling of its train block; None where it is not compared."""


def select_moments(
    project: Project, base: Panel, ends: dict[str, pd.Timestamp]
) -> list[pd.Timestamp]:
    """The moments after which rows are changed or cut, sorted.

    They are the ends of blocks, random times after the train block, and times at which looking
    ahead is likely: ends of gaps (which it would fill), ends of the longest stretches without a new
    row of a joined dataset, and times whose value in `base`, the panel of the unchanged data, is
    not the source's.
    """
    observed_rows = trim_to_observed(project.frame, project.settings)
    times = np.sort(observed_rows["ds"].unique())
    times_after_train = times[(times > ends["train"].to_datetime64()) & (times < times[-1])]
    rng = np.random.default_rng(0)
    random_times = _draw([*map(pd.Timestamp, times_after_train)], MOST_RANDOM_MOMENTS, rng)
    borders = [ends[name] for name in ("train", "validation", "calibration")]
    missing = observed_rows.drop(columns=["unique_id", "ds"]).isna()
    ends_missing_run = missing & ~missing.groupby(observed_rows["unique_id"], sort=False).shift(
        -1, fill_value=False
    )
    gap_ends = set(calendars.find_gaps(observed_rows, project.settings.calendar)["last"])
    suspect_moments = _draw(
        sorted(gap_ends | set(observed_rows["ds"][ends_missing_run.any(axis=1)])),
        MOST_GAP_MOMENTS,
        rng,
    )
    others = sorted(set(project.raw) - {project.dataset})
    for name in others:
        most = max(1, MOST_STALE_MOMENTS // len(others))
        suspect_moments += find_stale_moments(project, name)[:most]
    differing_times = sorted({at for _, at, _ in data_checks.find_differing_values(project, base)})
    suspect_moments += _draw(differing_times, MOST_DIFFERING_MOMENTS, rng)
    moments = {*random_times, *borders, *suspect_moments}
    return sorted(moment for moment in moments if times[0] < moment < times[-1])


def _draw(moments: list[pd.Timestamp], count: int, rng: np.random.Generator) -> list[pd.Timestamp]:
    """At most `count` of `moments`, drawn at random, in their order."""
    if len(moments) <= count:
        return moments
    return [moments[i] for i in sorted(rng.choice(len(moments), count, replace=False))]


def find_stale_moments(project: Project, other: str) -> list[pd.Timestamp]:
    """The last times of stretches in which no row of the joined dataset `other` becomes known, the
    longest stretch first.
    """
    observed_rows = trim_to_observed(project.frame, project.settings)
    times = pd.DatetimeIndex(np.sort(observed_rows["ds"].unique()))
    calendar = load_dataset(other, project.paths.configs).calendar
    known_times = np.unique(times_known(calendar, project.raw[other].dropna()["ds"]))
    moments_known = calendars.read_until(project.settings.calendar, times)
    known_rows = np.searchsorted(known_times, moments_known, side="right")
    last_steps = np.flatnonzero(np.diff(known_rows, append=known_rows[-1:] + 1))
    run_lengths = np.diff(last_steps, prepend=-1)
    return [
        times[last_steps[position]]
        for position in np.argsort(-run_lengths, kind="stable")
        if run_lengths[position] > 1
    ]


def audit_changed_moments(
    project: Project, base: Panel, moments: list[pd.Timestamp], trained: Path, folder: Path
) -> Iterator[Finding]:
    """Change all rows after each moment, and compare prepared rows, inputs known ahead, scaling and
    forecasts.

    base: the panel of the unchanged data. trained: the folder of saved forecasters.
    """

    def prepare_changed(
        number: int, moment: pd.Timestamp, borders: splits.Borders | None
    ) -> PreparedPanel:
        """Prepare with all rows after `moment` changed; the changes take turns."""

        def prepare_with(change: Change) -> PreparedPanel:
            run_folder = folder / f"changed-{number}" / change.__name__
            return run_isolated(
                prepare_panel, project, project.frame, run_folder, moment, change, borders
            )

        change = ROW_CHANGES[number % len(ROW_CHANGES)]
        if change is not shake:
            with contextlib.suppress(InputError):  # the data checks refuse the changed rows
                return prepare_with(change)
        return prepare_with(shake)

    yield from _compare_at_moments(project, base, moments, prepare_changed, trained)


def audit_cut_moments(
    project: Project, base: Panel, moments: list[pd.Timestamp], trained: Path, folder: Path
) -> Iterator[Finding]:
    """As `audit_changed_moments`, with all rows after each moment cut instead of changed."""

    def prepare_cut(
        number: int, moment: pd.Timestamp, borders: splits.Borders | None
    ) -> PreparedPanel | None:
        """Prepare the rows up to `moment`, with plans as known then; None where the data checks
        refuse them, such as too few rows or too many gaps.
        """
        frame = project.frame[project.frame["ds"] <= moment].reset_index(drop=True)
        frame = restore_plans(frame, project.frame, project.settings, moment)
        with contextlib.suppress(InputError):
            return run_isolated(
                prepare_panel,
                project,
                frame,
                folder / f"cut-{number}",
                moment=None,
                borders=borders,
            )
        return None

    yield from _compare_at_moments(project, base, moments, prepare_cut, trained)


def _compare_at_moments(
    project: Project,
    base: Panel,
    moments: list[pd.Timestamp],
    make: Callable[[int, pd.Timestamp, splits.Borders | None], PreparedPanel | None],
    trained: Path,
) -> Iterator[Finding]:
    """Compare the panels that `make` prepares for each moment with `base`.

    make: takes the moment's number, the moment, and the borders of the blocks, or None where the
    train block has not ended by then and its scaling is not compared. It returns None where no
    panel can be prepared.
    """
    source_values = set(project.frame.set_index(["unique_id", "ds"]).stack().dropna().index)
    ends = block_ends(project.frame, project.settings)
    borders = splits.Borders(*ends.values())
    with_equal_inputs = []
    for number, moment in enumerate(moments):
        other = make(number, moment, borders if moment >= ends["train"] else None)
        if other is None:
            continue
        findings: list[Finding] = []
        for series in base.series:
            other_series = other.panel.by_id.get(series.unique_id)
            findings += _compare_inputs(project, series, other_series, moment, source_values)
        yield from findings
        # forecasts from different inputs differ too, which is no second leak
        if not findings:
            with_equal_inputs.append((moment, other))
    yield from _compare_scalings(run_isolated(_fit_scaling, base, borders), with_equal_inputs)
    panels = [(moment, other.panel) for moment, other in with_equal_inputs]
    yield from run_isolated(
        _compare_forecasts, project.paths.root, trained, base, panels, ends["validation"]
    )


def _compare_scalings(
    base_scaling: Scaling, others: list[tuple[pd.Timestamp, PreparedPanel]]
) -> Iterator[Finding]:
    """Yield a finding where the centre or scale of a series changes with rows after a moment."""
    for moment, other in others:
        if other.scaling is None:
            continue
        for uid in base_scaling.centre:
            if (
                bits_differ(base_scaling.centre[uid], other.scaling.centre[uid]).any()
                or bits_differ(base_scaling.scale[uid], other.scaling.scale[uid]).any()
            ):
                yield Finding(
                    "scaling",
                    "change after an origin",
                    uid,
                    f"the scaling of series {uid} changes with rows after {moment:%Y-%m-%d %H:%M}",
                )
                return


def _fit_scaling(panel: Panel, borders: splits.Borders) -> Scaling:
    blocks = splits.split_panel(panel, borders, ("train",))
    return [Scaling.fit(panel, blocks) for _ in range(SCALING_CALLS)][-1]


def prepare_panel(
    project: Project,
    frame: pd.DataFrame,
    folder: Path,
    moment: pd.Timestamp | None,
    change: Change = shake,
    borders: splits.Borders | None = None,
) -> PreparedPanel:
    """Run the stages fetch and prepare on `frame`, whose rows after `moment` are changed (None: no
    row); with `borders` fit the scaling too.

    The caller runs this in a process of its own, so that nothing of another frame is in memory.
    Raises `InputError` where the data checks refuse the rows.
    """
    sandbox = run_stages(
        project, frame, folder, after=moment, change=change, stages=("fetch", "prepare")
    )
    panel = from_frame(sandbox.results.frame, project.dataset, project.settings.task)
    return PreparedPanel(panel, None if borders is None else _fit_scaling(panel, borders))


def _compare_inputs(
    project: Project,
    base_series: Series,
    other_series: Series | None,
    moment: pd.Timestamp,
    source_values: set[tuple[str, pd.Timestamp, str]],
) -> Iterator[Finding]:
    """Yield a finding for each part of one series up to `moment` that depends on later rows: its
    times, each column, and the inputs known ahead.

    base_series: from the unchanged rows. other_series: from rows that are changed after `moment`;
    None where it is missing. source_values: (series, time, column) of every value in the source; a
    difference where the source has none is of the kind `gap`, since a gap was filled with later
    values. Of each column the last differing row is named.
    """
    change_text = f"change after {moment:%Y-%m-%d %H:%M}"
    rows = count_rows_until(base_series.ds, moment)
    if (
        other_series is None
        or len(other_series) < rows
        or not np.array_equal(base_series.ds[:rows], other_series.ds[:rows])
    ):
        yield Finding(
            "features",
            "change after an origin",
            base_series.unique_id,
            f"series {base_series.unique_id} has other rows when later ones change",
        )
        return
    for position, column in enumerate(project.settings.columns):
        differ = bits_differ(
            base_series.values[:rows, position], other_series.values[:rows, position]
        )
        if differ.any():
            row = int(np.flatnonzero(differ)[-1])
            time = pd.Timestamp(base_series.ds[row])
            is_filled_gap = (
                column.column in project.frame
                and (base_series.unique_id, time, column.column) not in source_values
            )
            kind = "features"
            subject = f"{column.column} at {time}"
            if is_filled_gap:
                kind = "gap"
                subject += ", missing in the source,"
            yield Finding(
                kind,
                "change after an origin",
                column.column,
                f"{subject} uses rows after it: {change_text}",
            )
    common_rows = min(len(base_series.future), len(other_series.future))
    if bits_differ(base_series.future[:common_rows], other_series.future[:common_rows]).any():
        yield Finding(
            "known future",
            "change after an origin",
            base_series.unique_id,
            f"the inputs known in advance change with observations: {change_text}",
        )


def load_forecasters(trained: Path) -> dict[str, Forecaster]:
    """Every saved forecaster below `trained`, and each network also with perturbed weights
    (`perturb_weights`).
    """
    forecasters = {}
    for path in sorted(trained.glob("*/seed-*")):
        name = path.relative_to(trained).as_posix()
        forecasters[name] = Forecaster.load(path)
        if forecasters[name].network is not None:
            forecasters[f"{name}, perturbed"] = perturb_weights(forecasters[name])
    return forecasters


def _compare_forecasts(
    root: Path,
    trained: Path,
    base: Panel,
    others: list[tuple[pd.Timestamp, Panel]],
    fitted_until: pd.Timestamp,
) -> list[Finding]:
    """Findings where a forecast up to a moment changes with later rows, where forecasting opens a
    file of the project, and where no forecast changes with the rows before it, so that the
    comparison shows nothing.
    """
    findings = []
    detector = "change after an origin"
    for name, forecaster in load_forecasters(trained).items():
        follows_history = not forecaster.spec.reads_history or not others
        with record_file_access(root, trained) as opened:
            for moment, other in others:
                early_differences, later_differ = _count_differences(
                    forecaster, base, other, moment, fitted_until
                )
                follows_history |= later_differ
                if early_differences:
                    findings.append(
                        Finding(
                            "forecast",
                            detector,
                            name,
                            f"{early_differences} forecasts of {name} made at or before {moment}"
                            " change with the rows after it",
                        )
                    )
        if opened:
            findings.append(
                Finding(
                    "beside",
                    "files opened meanwhile",
                    name,
                    f"forecasting with {name} opened {opened[0]}, beside the rows it was given",
                )
            )
        if not follows_history:
            findings.append(
                Finding(
                    "forecast",
                    "change before an origin",
                    name,
                    f"no forecast of {name} changes with the rows before its cutoff, so nothing can"
                    " be said about it",
                )
            )
    return findings


def _count_differences(
    forecaster: Forecaster,
    base: Panel,
    other: Panel,
    moment: pd.Timestamp,
    fitted_until: pd.Timestamp,
) -> tuple[int, bool]:
    """How many forecasts made at or before `moment` differ, and whether a later one differs (True
    where none could be made).

    Models whose state begins at the end of their fit (`starts_at_train_end`) forecast only from
    later rows.
    """
    task = base.task.with_whole_season() if forecaster.spec.needs_whole_season else base.task
    lookback = task.lookback
    rows = {}
    is_late = []
    for series in base.series:
        last = count_rows_until(series.ds, moment) - 1
        last_rows = np.array([last - base.task.horizon, last - 1, last])
        starts_at_train_end = forecaster.spec.starts_at_train_end
        fitted_rows = count_rows_until(series.ds, fitted_until) if starts_at_train_end else 0
        first = max(lookback, fitted_rows) - 1
        early_rows = last_rows[last_rows >= first]
        end = min(len(series), len(other.by_id[series.unique_id])) - 1
        has_late_row = end > last >= first
        late_rows = [min(last + lookback, end)] * has_late_row
        rows[series.unique_id] = np.array([*early_rows, *late_rows], int)
        is_late += [False] * len(early_rows) + [True] * len(late_rows)
    differ = _origins_that_differ(forecaster, base, other, rows)
    late = differ[is_late]
    return int(differ.sum() - late.sum()), not late.size or bool(late.any())


def _origins_that_differ(
    forecaster: Forecaster, base: Panel, other: Panel, rows: dict[str, np.ndarray]
) -> np.ndarray:
    """Whether the two forecasts differ at each of the origins `rows` of all series: (n,)."""
    base_forecasts = forecaster.predict(base, rows)
    other_forecasts = forecaster.predict(other, rows)
    differ = [bits_differ(base_forecasts[uid], other_forecasts[uid]) for uid in base_forecasts]
    return np.concatenate([of_series.any(axis=(1, 2)) for of_series in differ])


def perturb_weights(forecaster: Forecaster) -> Forecaster:
    """The same network with noise added to its weights: the read-out of an untrained network is
    zero, so its forecasts would not change with the inputs.
    """
    rng = np.random.default_rng(0)
    weights = {
        name: (value + rng.normal(0, 0.05, value.shape)).astype(value.dtype)
        for name, value in sorted(forecaster.weights.items())
    }
    return replace(forecaster, weights=weights)


def bits_differ(values: np.ndarray, other_values: np.ndarray) -> np.ndarray:
    """Where the values differ; NaN equals NaN."""
    return ~np.isclose(values, other_values, rtol=0, atol=0, equal_nan=True)
