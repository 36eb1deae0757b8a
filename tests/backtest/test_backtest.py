"""Refit policy: when a model is fitted again, on which rows, and that each forecast comes from the
newest fit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecast import models
from forecast.backtest import timeline
from forecast.backtest.candidates import Candidate
from forecast.backtest.timeline import CandidateFitter
from forecast.forecaster import Budget
from forecast.forecaster.forecaster import MAX_ROWS_IN_GROUP, MIN_SERIES_IN_GROUP
from forecast.models.problem import VALIDATION_FOLDS, validation_fold_starts
from forecast.system.errors import InputError
from tests.support import problems

DAYS = pd.date_range("2024-01-01", periods=300).as_unit("ns")


def daily(*, wanders=True):
    """300 days of one series, a random walk or noise: train to the middle of June, the rest scored.

    Of a random walk a linear part says nothing.
    """
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, len(DAYS))
    y = 20 + (np.cumsum(noise) if wanders else noise)
    frame = pd.DataFrame({"unique_id": "a", "ds": DAYS, "sales": y})
    changes = {
        "target": {"column": "sales"},
        "past_exogenous": [],
        "calendar_features": [],
        "step_size": 1,
        "season_length": 1,
    }
    return problems.problem_of(frame, **changes, calendar={"kind": "regular", "freq": "1D"})


ONCE = Budget(0, 1)


def spec(family="theta", **options):
    return models.spec({"family": family, **options}, where="test")


def fitted(problem, spec):
    fitter = CandidateFitter(Candidate("it", spec, "baseline", None), 0, Budget(0, 1))
    return timeline.fit_through_time(problem, fitter).timeline


def refit_cutoffs(problem, spec):
    return list(timeline.RefitSchedule.of_problem(spec, problem).cutoffs)


def known_at(problem, spec, cutoff):
    return timeline.RefitSchedule.of_problem(spec, problem).problem_at(problem, cutoff)


def predicted(fits, panel, rows):
    return fits.predict(panel, rows)


def test_never_and_what_has_no_parameters_is_fitted_once():
    assert refit_cutoffs(daily(), spec()) == [] and refit_cutoffs(daily(), spec("naive")) == []


def test_monthly_is_the_first_origin_of_every_month_after_the_first():
    problem = daily()
    cutoffs = [pd.Timestamp(moment) for moment in refit_cutoffs(problem, spec(refit="monthly"))]
    last = max(problem.rows("a", "test"))
    expected = pd.date_range("2024-07-01", DAYS[last], freq="MS")
    assert [f"{m:%Y-%m}" for m in cutoffs] == [f"{m:%Y-%m}" for m in expected]
    # the embargo before a border has no origins
    assert all(moment.day <= 1 + problems.HORIZON for moment in cutoffs)


def test_quarterly_is_the_first_of_every_quarter_of_the_monthly_ones():
    problem = daily()
    monthly = refit_cutoffs(problem, spec(refit="monthly"))
    expected = [moment for moment in monthly if pd.Timestamp(moment).month in (1, 4, 7, 10)]
    assert refit_cutoffs(problem, spec(refit="quarterly")) == expected


def test_every_k_origins_counts_over_all_scored_blocks():
    problem = daily()
    cutoffs = sorted({DAYS[row] for block in timeline.SCORED for row in problem.rows("a", block)})
    assert [pd.Timestamp(m) for m in refit_cutoffs(problem, spec(refit=25))] == cutoffs[25::25]


@pytest.mark.parametrize("family", ["theta", "ridge"])
def test_a_later_fit_knows_nothing_after_its_moment(family):
    problem = daily()
    moment = DAYS[220].to_datetime64()
    known = known_at(problem, spec(family, refit=5), moment)
    assert known.panel.by_id["a"].ds[-1] == moment
    assert known.blocks["a"].train == (0, 221) and known.blocks["a"].validation == (221, 221)


def test_a_later_fit_keeps_what_validation_chose_and_the_units_and_learns_from_later_rows():
    problem, ridge = daily(), Candidate("it", spec("ridge", refit=20), "baseline", None)
    fits = timeline.fit_through_time(problem, CandidateFitter(ridge, 0, ONCE))
    refitted = [
        stage.forecaster
        for stage in fits.timeline.fits
        if stage.first_cutoff in refit_cutoffs(problem, ridge.spec)
    ]
    assert len(refitted) == fits.refits > 2 and all(
        forecaster.skip == fits.first.forecaster.skip for forecaster in refitted
    )
    assert all(forecaster.scaling is problem.scaling for forecaster in refitted)
    assert len({forecaster.skip.coefficients.tobytes() for forecaster in refitted}) == len(refitted)


def test_what_serves_of_a_model_fitted_again_is_its_newest_fit_that_saw_no_test_target():
    problem, ridge = daily(), Candidate("it", spec("ridge", refit=1), "baseline", None)
    fits = timeline.fit_through_time(problem, CandidateFitter(ridge, 0, ONCE))
    end = problem.panel.by_id["a"].ds[problem.blocks["a"].calibration[1] - 1]
    stage = next(fit for fit in fits.timeline.fits if fit.forecaster is fits.newest)
    assert (
        stage.first_cutoff
        <= end
        < fits.timeline.fits[fits.timeline.fits.index(stage) + 1].first_cutoff
    )
    # one later fit inside validation, the next in the test block
    rows_between = len(problem.rows("a", "validation")) - 5
    seldom = Candidate("it", spec("ridge", refit=rows_between), "baseline", None)
    fitter = CandidateFitter(seldom, 0, ONCE)
    older = timeline.fit_through_time(problem, fitter)
    # older than the fit on train and validation, which serves
    assert older.refits and older.newest is None
    once = CandidateFitter(Candidate("it", spec("ridge"), "baseline", None), 0, ONCE)
    assert timeline.fit_through_time(problem, once).newest is None


@pytest.mark.parametrize("family", ["window_linear", "ridge"])
def test_each_forecast_is_that_of_the_newest_fit_known_at_its_origin(family):
    problem = daily(wanders=False)
    fits = fitted(problem, spec(family, refit=40))
    rows = np.concatenate([problem.rows("a", block) for block in timeline.SCORED])
    y_hat = predicted(fits, problem.panel, {"a": rows})["a"]
    assert len(fits.fits) == 2 + len(refit_cutoffs(problem, spec(refit=40))) and len(fits.fits) > 3
    for row in (rows[0], rows[39], rows[40], rows[-1]):
        stage = [s for s in fits.fits if s.first_cutoff <= DAYS[row].to_datetime64()][-1]
        expected = problems.latest(stage.forecaster, problems.until(problem.panel, DAYS[row]))["a"]
        np.testing.assert_allclose(y_hat[list(rows).index(row)], expected, rtol=1e-9)
    once = fits.fits[0].forecaster.predict(problem.panel, {"a": rows})["a"]
    np.testing.assert_array_equal(y_hat[:40], once[:40])
    assert (y_hat[40:] != once[40:]).any()


@pytest.mark.parametrize("family", ["ridge", "arx", "naive"])
def test_many_short_series_are_forecast_side_by_side_and_few_as_if_each_stood_alone(
    family, monkeypatch
):
    names = [f"s{number:02}" for number in range(MIN_SERIES_IN_GROUP)]
    problem = problems.problem_of(problems.frame(dict.fromkeys(names, 120), gaps=False))
    forecaster = fitted(problem, spec(family)).fits[0].forecaster
    calls_made, together = [], type(forecaster.spec).scaled_forecast
    counted = lambda self, *given: (calls_made.append(1), together(self, *given))[1]  # noqa: E731
    monkeypatch.setattr(type(forecaster.spec), "scaled_forecast", counted)
    rows = {uid: problem.rows(uid, "test") for uid in names}
    assert all(len(series_rows) <= MAX_ROWS_IN_GROUP for series_rows in rows.values())
    by_series, calls = forecaster.predict(problem.panel, rows), len(calls_made)
    assert calls <= MIN_SERIES_IN_GROUP / 4
    alone = {
        uid: forecaster.predict(problem.panel, {uid: series_rows})[uid]
        for uid, series_rows in rows.items()
    }
    for uid in names:
        np.testing.assert_allclose(by_series[uid], alone[uid], rtol=1e-9)
    fewer = forecaster.predict(problem.panel, {uid: rows[uid] for uid in names[1:]})
    assert all(np.array_equal(values, alone[uid]) for uid, values in fewer.items())


def test_a_refitted_forecast_is_a_fresh_fit_on_the_rows_up_to_its_origin():
    problem = daily()
    fits = fitted(problem, spec(refit=40))
    refit = fits.fits[-1]
    row = int(np.flatnonzero(DAYS.to_numpy() == refit.first_cutoff)[0])
    y = problem.panel.by_id["a"].values[: row + 1, 0]
    scaling = refit.forecaster.scaling
    z = (y - scaling.centre["a"][0]) / scaling.scale["a"][0]
    refitted = spec().fit_series(z, 1)
    fresh = refitted.forecasts(z, np.array([len(z) - 1]), problems.HORIZON)
    y_hat = predicted(fits, problem.panel, {"a": np.array([row])})["a"][0, :, 0]
    np.testing.assert_allclose(y_hat, scaling.unscale(fresh[0], "a", 0), rtol=1e-9)


def test_validation_is_forecast_by_what_saw_train_alone_and_the_rest_by_what_saw_both():
    problem, ridge = problems.shops(), Candidate("ridge", spec("ridge"), "baseline", None)
    fits = timeline.fit_through_time(
        problem,
        CandidateFitter(ridge, 0, Budget(0, 1)),
    )
    first, final = fits.first, fits.final
    assert fits.refits == 0
    for block, fit in zip(timeline.SCORED, (first, final, final), strict=True):
        for uid in problem.blocks:
            rows = problem.rows(uid, block)
            y_hat = predicted(fits.timeline, problem.panel, {uid: rows})[uid]
            np.testing.assert_array_equal(
                y_hat, fit.forecaster.predict(problem.panel, {uid: rows})[uid]
            )
    assert not np.array_equal(
        first.forecaster.skip.coefficients, final.forecaster.skip.coefficients
    )


def shops_ending_apart(hours=150):
    """Two shops whose rows have numbers for times, one with `hours` rows more than the other."""
    frame = problems.frame({"north": 200, "south": 200 + hours}, gaps=False)
    frame["ds"] = pd.Timestamp(0) + pd.to_timedelta(frame.groupby("unique_id").cumcount(), "min")
    problem = problems.problem_of(frame, calendar={"kind": "index"}, calendar_features=[])
    assert problem.borders.by_series
    return problem


@pytest.mark.parametrize("hours", [60, 150])
@pytest.mark.parametrize("family", ["theta", "sklearn"])
def test_a_series_that_ends_later_is_validated_by_a_fit_that_did_not_learn_from_its_validation(
    family, hours
):
    problem = shops_ending_apart(hours)
    candidate = Candidate("it", spec(family), "baseline", None)
    fits = timeline.fit_through_time(problem, CandidateFitter(candidate, 0, ONCE))
    for block, fit in zip(timeline.SCORED, (fits.first, fits.final, fits.final), strict=True):
        rows = {uid: problem.rows(uid, block) for uid in problem.blocks}
        by_series = predicted(fits.timeline, problem.panel, rows)
        expected = fit.forecaster.predict(problem.panel, rows)
        assert all(np.allclose(by_series[uid], expected[uid], rtol=1e-9) for uid in rows)


@pytest.mark.parametrize("refit", ["never", 5, 20])
def test_where_series_end_apart_each_block_of_each_has_a_network_with_weights_of_its_time(refit):
    problem = shops_ending_apart()
    _, fits = network(problem, refit=refit)
    for uid, cut in problem.blocks.items():
        row_numbers = np.concatenate([problem.rows(uid, block) for block in timeline.SCORED])
        fold_of_row = fits.timeline.predict(
            problem.panel,
            {uid: row_numbers},
            lambda forecaster, _, rows: {
                name: np.repeat(forecaster.weights.get("stretch", [-1])[0], len(series_rows))
                for name, series_rows in rows.items()
            },
        )[uid]
        is_after_validation = row_numbers >= cut.validation[1] - 1
        assert (fold_of_row[is_after_validation] == VALIDATION_FOLDS).all() and (
            fold_of_row[~is_after_validation] < VALIDATION_FOLDS
        ).all()


def crossed(problem, **options):
    """Fits of a ridge that has, of each stretch of validation, a forecaster with coefficients of
    its own.
    """
    ridge = Candidate("ridge", spec("ridge", **options), "baseline", None)

    class Crossed(CandidateFitter):
        def fit_both(self, known):
            first, final = super().fit_both(known)
            skip = first.forecaster.skip
            skips = (
                replace(skip, coefficients=skip.coefficients * (1 + k / 10))
                for k in range(VALIDATION_FOLDS)
            )
            by_fold = tuple(replace(first.forecaster, skip=fold_skip) for fold_skip in skips)
            return replace(first, forecasters_by_fold=by_fold), final

    return timeline.fit_through_time(problem, Crossed(ridge, 0, Budget(0, 1)))


def test_each_stretch_of_validation_is_forecast_with_what_the_others_chose():
    problem = problems.shops()
    fits, starts = crossed(problem), validation_fold_starts(problem)
    for uid in problem.blocks:
        rows = problem.rows(uid, "validation")
        stretch = np.searchsorted(starts, problem.panel.by_id[uid].ds[rows], side="right") - 1
        y_hat = predicted(fits.timeline, problem.panel, {uid: rows})[uid]
        assert set(stretch) == set(range(VALIDATION_FOLDS))
        for number in range(VALIDATION_FOLDS):
            fold_rows = rows[stretch == number]
            expected = fits.first.forecasters_by_fold[number].predict(
                problem.panel, {uid: fold_rows}
            )[uid]
            np.testing.assert_allclose(y_hat[stretch == number], expected, rtol=1e-12)
        for block in ("calibration", "test"):
            rows = problem.rows(uid, block)
            y_hat = predicted(fits.timeline, problem.panel, {uid: rows})[uid]
            np.testing.assert_array_equal(
                y_hat, fits.final.forecaster.predict(problem.panel, {uid: rows})[uid]
            )


def test_a_later_fit_goes_before_what_the_other_stretches_chose():
    problem = daily()
    rows = problem.rows("a", "validation")
    fits = crossed(problem, refit=20)
    moments = refit_cutoffs(problem, spec("ridge", refit=20))
    assert fits.refits == len(moments) and moments[0] < problem.panel.by_id["a"].ds[rows[-1]]
    after = rows[problem.panel.by_id["a"].ds[rows] >= moments[0]]
    plain = fitted(problem, spec("ridge", refit=20))
    y_hat, expected = (
        predicted(stages, problem.panel, {"a": after})["a"] for stages in (fits.timeline, plain)
    )
    np.testing.assert_array_equal(y_hat, expected)


@pytest.mark.parametrize(
    "entry",
    [{"family": "window_linear", "form": form} for form in ("nlinear", "dlinear", "climatology")]
    + [{"family": family} for family in ("ridge", "arx", "rectify", "sklearn", "theta")],
)
def test_every_closed_form_is_fitted_again_with_its_choices_and_other_numbers(entry):
    problem, spec = problems.shops(), models.spec(entry, where="test")
    candidate = Candidate("it", spec, "baseline", None)
    first, final = CandidateFitter(candidate, 0, Budget(0, 1)).fit_both(problem)
    rows = {uid: problem.rows(uid, "test") for uid in problem.blocks}
    first_y_hat, final_y_hat = (
        fitted.forecaster.predict(problem.panel, rows) for fitted in (first, final)
    )
    assert all(np.isfinite(final_y_hat[uid]).all() for uid in rows) and any(
        (first_y_hat[uid] != final_y_hat[uid]).any() for uid in rows
    )
    shapes = [
        {name: array.shape for name, array in f.forecaster.weights.items()} for f in (first, final)
    ]
    assert entry["family"] == "sklearn" or shapes[0] == shapes[1]


def test_a_rule_and_restarts_without_steps_are_not_fitted_again():
    problem = daily()
    for entry in (
        spec("naive"),
        spec("ffnn", trainer="lm", units=2, lm={"restarts": 1, "iterations": 2}),
    ):
        candidate = Candidate("it", entry, "shipped", "last")
        first, final = CandidateFitter(candidate, 0, Budget(0, 1)).fit_both(problem)
        assert final is first


def network(problem, **options):
    """Stages of a small network, whose weights of each stretch of validation and of the second fit
    are told apart.
    """
    candidate = Candidate("it", spec("ffnn", units=2, **options), "shipped", "linear")

    class Marked(CandidateFitter):
        def fit_both(self, known):
            first, final = super().fit_both(known)
            by_fold = (
                replace(first.forecaster, weights={"stretch": np.array([k])})
                for k in range(VALIDATION_FOLDS)
            )
            weights = {"stretch": np.array([VALIDATION_FOLDS])}
            marked = replace(final, forecaster=replace(final.forecaster, weights=weights))
            return replace(first, forecasters_by_fold=tuple(by_fold)), marked

    return candidate.spec, timeline.fit_through_time(problem, Marked(candidate, 0, Budget(2, 1)))


@pytest.mark.parametrize("often", [7, 20, 90])
def test_a_network_fitted_again_has_the_weights_of_its_time_and_the_newest_linear_part(often):
    problem = daily()
    entry, fits = network(problem, refit=often)
    moments, starts = refit_cutoffs(problem, entry), validation_fold_starts(problem)
    end = problem.panel.by_id["a"].ds[problem.blocks["a"].validation[1] - 1]
    assert fits.refits == len(moments) and {*moments, *starts, end} == {
        stage.first_cutoff for stage in fits.timeline.fits[1:]
    }
    for stage in fits.timeline.fits[1:]:
        stretch = np.searchsorted(starts, stage.first_cutoff, side="right") - 1
        assert stage.forecaster.weights["stretch"] == (
            stretch if stage.first_cutoff < end else VALIDATION_FOLDS
        )
        fit, known = (fits.first, starts[0]) if stage.first_cutoff < end else (fits.final, end)
        newest = max((m for m in moments if known < m <= stage.first_cutoff), default=None)
        skip = (
            known_at(problem, entry, newest).skip("linear", problems.HORIZON)
            if newest
            else fit.forecaster.skip
        )
        np.testing.assert_array_equal(stage.forecaster.skip.coefficients, skip.coefficients)
        assert stage.forecaster.skip.lags == fits.first.forecaster.skip.lags


def test_the_linear_part_known_at_a_moment_is_fitted_once_for_all_networks(monkeypatch):
    problem, fitted = daily(), []
    linear = type(problem).fit_linear_skip
    monkeypatch.setattr(
        type(problem),
        "fit_linear_skip",
        lambda self, *given: (fitted.append(1), linear(self, *given))[1],
    )
    network(problem, refit=60)
    before = len(fitted)
    network(problem, refit=60)
    assert before > 2 and len(fitted) == before


class NotingFitter:
    """A fitter that notes the newest row of series `a` that each of its forecasters was given."""

    def __init__(self, fitter):
        self.fitter = fitter
        self.candidate = fitter.candidate
        self.newest_row = {}

    def fit_both(self, problem):
        first, final = self.fitter.fit_both(problem)
        ends = [timeline.block_ends(problem, block)["a"] for block in ("train", "validation")]
        self.newest_row[id(final.forecaster)] = ends[1]
        for forecaster in (first.forecaster, *first.forecasters_by_fold):
            self.newest_row[id(forecaster)] = ends[0]
        return first, final

    def refit(self, problem, first):
        refitted = self.fitter.refit(problem, first)
        self.newest_row[id(refitted.forecaster)] = problem.panel.by_id["a"].ds[-1]
        return refitted


@pytest.mark.parametrize(
    "options",
    [
        {"family": "ridge", "refit": 20},
        {"family": "ridge"},
        {"family": "ffnn", "units": 2, "refit": 20},
    ],
)
def test_no_fit_of_the_timeline_has_seen_a_row_behind_a_cutoff_that_it_forecasts(options):
    problem = daily()
    candidate = Candidate("it", spec(**options), "shipped", "linear")
    noting = NotingFitter(CandidateFitter(candidate, 0, Budget(2, 1)))
    fits = timeline.fit_through_time(problem, noting).timeline
    rows = np.concatenate([problem.rows("a", block) for block in timeline.SCORED])
    for cutoff in problem.panel.by_id["a"].ds[rows]:
        fit = fits.fits[fits.fit_numbers("a", np.array([cutoff]))[0]]
        assert noting.newest_row[id(fit.forecaster)] <= cutoff


def test_a_cutoff_before_every_fit_of_its_series_is_refused():
    ridge = Candidate("ridge", spec("ridge"), "baseline", None)
    forecaster = CandidateFitter(ridge, 0, ONCE).fit_both(daily())[0].forecaster
    fits = timeline.FitTimeline(
        (
            timeline.DatedFit(forecaster, {"a": np.datetime64("2024-03-01", "ns")}),
            timeline.DatedFit(forecaster, {"a": np.datetime64("2024-04-01", "ns")}),
        )
    )
    cutoffs = np.array(["2024-03-01", "2024-05-01"], dtype="datetime64[ns]")
    assert fits.fit_numbers("a", cutoffs).tolist() == [0, 1]
    early = np.array(["2024-05-01", "2024-02-29"], dtype="datetime64[ns]")
    with pytest.raises(InputError, match=r"series 'a' at 2024-02-29.*begins at 2024-03-01"):
        fits.fit_numbers("a", early)
