"""The statistical models against statsforecast's own `forward`, which filters the history again at
every origin.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies
from scipy.signal import lfilter

from forecast.config.models import load_models
from forecast.data import panel, splits
from forecast.forecaster import Budget, Problem, fit, fit_again
from forecast.models import catalogue, series_fit, statistical
from forecast.models import spec as find
from forecast.models.families import auto_arima, auto_ets, auto_theta, theta
from forecast.models.statistical import StatisticalSpec
from forecast.system.errors import InputError, ModelError
from tests.support import problems


def statsforecast_models() -> Any:
    """The module; its packages, which warn, take a second to import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsforecast import models
    return models


TRAIN = 150
THETA = theta.Spec()
ORIGINS = np.array([149, 150, 163, 171, 198])


def seasonal_series(*, positive: bool, season: int = 8, rows: int = 200) -> np.ndarray:
    rng = np.random.default_rng(3)
    t = np.arange(rows)
    y = (
        3 * np.sin(2 * np.pi * t / season)
        + 0.3 * np.cumsum(rng.normal(size=rows))
        + rng.normal(size=rows) * 0.3
    )
    return y - y.min() + 5 if positive else y


FITS: dict[tuple[Any, ...], Any] = {}
"""The fits of this file by what they were made of; a fit is frozen."""


def fitted_to(name, y, *, season=1, options=None):
    """The fit of a family, made once for equal rows."""
    made_of = (name, y.tobytes(), season, repr(options))
    if made_of not in FITS:
        FITS[made_of] = _fit(name, y, season, options)
    return FITS[made_of]


def _fit(name, y, season, options):
    if options is None:
        return find({"family": name}, where=name).fit_series(y, season)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of statsforecast's optimisers
        return catalogue()[name].series_model.fit(y, season, **options)


def fit_and_forecast(name, y, *, train_end, origins, horizon, season=1, options=None):
    """(n_origins, horizon) of the model fitted on y[:train_end]."""
    fitted = fitted_to(name, y[:train_end], season=season, options=options)
    return fitted.forecasts(y, np.asarray(origins), horizon)


def forward(model: object, y: np.ndarray, horizon: int) -> np.ndarray:
    model.fit(y[:TRAIN].copy())  # type: ignore[attr-defined]
    return np.array([model.forward(y[: t + 1].copy(), h=horizon)["mean"] for t in ORIGINS])  # type: ignore[attr-defined]


@pytest.mark.parametrize("season", [1, 8])
@pytest.mark.parametrize("form", ["ZZZ", "AAA", "MAM", "AAN", "ANN"])
def test_ets_filtered_in_one_pass_equals_statsforecast_forward_at_every_origin(
    form: str, season: int
) -> None:
    if season == 1:
        form = form[:2] + "N"
    y = seasonal_series(positive=True, season=season if season > 1 else 8)
    expected = forward(statsforecast_models().AutoETS(season_length=season, model=form), y, 11)
    got = fit_and_forecast(
        "auto_ets",
        y,
        train_end=TRAIN,
        origins=ORIGINS,
        horizon=11,
        season=season,
        options={"form": form},
    )
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("form", ["STM", "OTM", "DSTM", "DOTM"])
@pytest.mark.parametrize(
    ("season", "positive"),
    [(1, True), (7, True), (8, False)],
    ids=["no season", "multiplicative", "additive"],
)
def test_theta_from_cumulative_sums_equals_statsforecast_forward_at_every_origin(
    form: str, season: int, positive: bool
) -> None:
    y = seasonal_series(positive=positive, season=season if season > 1 else 8)
    fine = auto_theta.FINE_UNIT
    model = statsforecast_models().AutoTheta(season_length=season, model=form)
    expected = forward(model, fine * y, 11) / fine
    got = fit_and_forecast(
        "auto_theta",
        y,
        train_end=TRAIN,
        origins=ORIGINS,
        horizon=11,
        season=season,
        options={"form": form},
    )
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("order", "fourier"),
    [(None, 0), ((2, 0, 1), 2), ((2, 1, 0), 3)],
    ids=["searched", "mean and season", "autoregressive with season"],
)
def test_arima_filtered_on_from_the_fit_equals_statsforecast_forward(
    order: tuple[int, int, int] | None, fourier: int
) -> None:
    y = seasonal_series(positive=False) + 0.02 * np.arange(200)
    options = {"candidates": order and [order], "pairs": fourier}
    fitted = fitted_to("auto_arima", y[:TRAIN], season=8, options=options)
    reference = statsforecast_models().AutoARIMA(season_length=1)
    if order is not None:
        reference = statsforecast_models().ARIMA(order=order, season_length=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        terms = auto_arima.fourier_terms(np.arange(220), 8, fourier) if fourier else None
        model = reference.fit(y[:TRAIN], None if terms is None else terms[:TRAIN])
        expected = [
            model.forward(
                y[: t + 1],
                h=6,
                X=None if terms is None else terms[: t + 1],
                X_future=None if terms is None else terms[t + 1 : t + 7],
            )["mean"]
            for t in ORIGINS
        ]
    np.testing.assert_allclose(fitted.forecasts(y, ORIGINS, 6), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("clean", [True, False])
def test_mstl_block_by_block_equals_statsforecast_decomposing_the_whole_history(
    clean: bool,
) -> None:
    t = np.arange(200.0)
    noise = np.random.default_rng(3).normal(size=200) * (0.0 if clean else 0.3)
    y = 5 * np.sin(2 * np.pi * t / 8) + 0.1 * t + noise
    expected = forward(statsforecast_models().MSTL(season_length=8), y, 9)
    got = fit_and_forecast("mstl", y, train_end=TRAIN, origins=ORIGINS, horizon=9, season=8)
    np.testing.assert_allclose(got, expected, atol=1e-6 if clean else 5e-3)


def test_arima_on_the_last_rows_knows_their_place_in_the_season() -> None:
    y = 5 * np.sin(2 * np.pi * np.arange(200) / 8) + 0.01 * np.random.default_rng(0).normal(
        size=200
    )
    options = {"last": 61, "pairs": 1, "candidates": [(1, 0, 0)]}
    got = fit_and_forecast(
        "auto_arima", y, train_end=TRAIN, origins=[149, 170], horizon=9, season=8, options=options
    )
    np.testing.assert_allclose(got, y[np.array([[149], [170]]) + 1 + np.arange(9)], atol=0.06)


def test_the_svd_of_fourier_terms_is_thin_and_has_the_right_vectors_to_the_bit() -> None:
    terms = auto_arima.fourier_terms(np.arange(800), 24, 6)
    left, sizes, right = np.linalg.svd(
        terms.view(auto_arima.ThinSvdArray)[np.ones(800, dtype=bool)]
    )
    assert left.shape == terms.shape  # the whole one has rows x rows: 3 GB of 20,000
    np.testing.assert_array_equal(right, np.linalg.svd(terms)[2])
    np.testing.assert_array_equal(sizes, np.linalg.svd(terms)[1])


def test_a_given_arima_order_is_fitted_as_statsforecast_fits_it() -> None:
    y = seasonal_series(positive=False)
    got = fit_and_forecast(
        "auto_arima",
        y,
        train_end=TRAIN,
        origins=[TRAIN - 1],
        horizon=6,
        season=8,
        options={"candidates": [(2, 0, 1)], "pairs": 2},
    )
    terms = auto_arima.fourier_terms(np.arange(TRAIN + 6), 8, 2)
    theirs = (
        statsforecast_models().ARIMA(order=(2, 0, 1), season_length=1).fit(y[:TRAIN], terms[:TRAIN])
    )
    np.testing.assert_allclose(got[0], theirs.predict(6, X=terms[TRAIN:])["mean"], rtol=1e-6)


def test_theta_is_the_standard_form() -> None:
    y = seasonal_series(positive=True)
    fitted = THETA.fit_series(y[:TRAIN], 8)
    assert (fitted.theta, fitted.form, fitted.decomposition) == (2.0, "STM", "multiplicative")


@pytest.mark.parametrize("name", ["auto_arima", "auto_ets", "mstl", "auto_theta"])
def test_rows_after_an_origin_change_no_bit_of_its_forecast(name: str) -> None:
    y = seasonal_series(positive=False)
    changed = y.copy()
    changed[172:] += 1e6
    early = ORIGINS[ORIGINS < 172]
    before, after = (
        fit_and_forecast(name, series, train_end=TRAIN, origins=early, horizon=5, season=8)
        for series in (y, changed)
    )
    assert before.tobytes() == after.tobytes()
    alone = fit_and_forecast(name, y[:164], train_end=TRAIN, origins=early[:3], horizon=5, season=8)
    np.testing.assert_allclose(alone, before[:3], rtol=1e-12)


@pytest.mark.parametrize("name", ["auto_arima", "auto_ets", "mstl", "auto_theta"])
def test_a_fitted_model_survives_json(name: str) -> None:
    y = seasonal_series(positive=False)
    fitted = fitted_to(name, y[:TRAIN], season=8)
    fits = {"a": [series_fit.SeriesFit(fitted, "2024-01-01T00:00:00", 1.5)]}
    content = json.loads(json.dumps(series_fit.fits_to_json(fits)))
    restored = series_fit.fits_from_json(catalogue()[name].series_model, content)
    assert restored == fits
    restored_model = restored["a"][0].model
    assert (
        restored_model.forecasts(y, ORIGINS, 4).tobytes()
        == fitted.forecasts(y, ORIGINS, 4).tobytes()
    )


NEEDED = [("theta", 4), ("auto_theta", 4), ("auto_ets", 7)]
"""Families, and the fewest rows that each needs."""
FEW_ROWS = np.random.default_rng(1).normal(10, 2, 30)


def entries_for(name: str, season: int) -> list[StatisticalSpec]:
    """The entries of a family that fit few rows in ways of their own."""
    options: list[dict[str, str]] = [{}]
    if name == "auto_ets" and season > 1:
        options.append({"seasonal": "kept"})
    return [find({"family": name, **option}, where="test") for option in options]


@pytest.mark.parametrize(("name", "least"), NEEDED)
@pytest.mark.parametrize("season", [1, 2, 4, 12])
def test_what_a_fit_needs_is_told_and_is_enough(name: str, least: int, season: int) -> None:
    borders = [least, *(season * number for number in (1, 2, 3))]
    near = {rows + more for rows in borders for more in (-1, 0, 1)}
    for entry in entries_for(name, season):
        for rows in range(1, least):
            with pytest.raises(ModelError, match=f"to {rows} train .* it needs {least};.*'naive'"):
                entry.fit_series(FEW_ROWS[:rows], season)
        for rows in near.intersection(range(least, 30)):
            entry.fit_series(FEW_ROWS[:rows], season)


@pytest.mark.slow  # the test before this one has the rows at which a fit takes another way
@pytest.mark.parametrize(("name", "least"), NEEDED)
@pytest.mark.parametrize("season", [1, 2, 4, 12])
def test_no_number_of_rows_above_what_a_fit_needs_is_too_few(
    name: str, least: int, season: int
) -> None:
    for entry in entries_for(name, season):
        for rows in range(least, 30):
            entry.fit_series(FEW_ROWS[:rows], season)


def test_a_constant_series_is_forecast_as_that_constant() -> None:
    y = np.full(60, 4.0)
    for name in ("auto_ets", "auto_theta"):
        got = fit_and_forecast(name, y, train_end=50, origins=[49, 58], horizon=3, season=1)
        np.testing.assert_allclose(got, 4.0, rtol=1e-6)


@pytest.mark.parametrize("orders", [[(2, 1, 2)], [(1, 0, 0), (2, 0, 0)]])
@pytest.mark.parametrize("value", [4.0, 0.0])
def test_a_constant_series_has_no_aicc_and_is_forecast_by_an_arima_of_given_order(
    value: float, orders: list[Any]
) -> None:
    options = {"candidates": orders, "pairs": 2}
    got = fit_and_forecast(
        "auto_arima",
        np.full(60, value),
        train_end=50,
        origins=[49, 58],
        horizon=3,
        season=7,
        options=options,
    )
    np.testing.assert_allclose(got, value, atol=1e-6)


def test_an_arima_whose_first_order_cannot_be_fitted_takes_the_second() -> None:
    rng = np.random.default_rng(1)
    t = np.arange(700)
    week_and_year = (1 + 0.25 * (t % 6 == 0)) * (1 + 0.1 * np.sin(2 * np.pi * t / 313))
    y = np.round(75 * week_and_year + rng.normal(0, 9, len(t)))
    origins = np.arange(600, 694)
    actual = np.stack([y[origins + step] for step in range(1, 7)], axis=1)

    def error(orders: list[Any]) -> float:
        options = {"candidates": orders, "pairs": 2}
        forecasts = fit_and_forecast(
            "auto_arima",
            y,
            train_end=600,
            origins=origins,
            horizon=6,
            season=6,
            options=options,
        )
        return float(np.abs(forecasts - actual).mean())

    shipped = load_models().models["arima_fourier"]
    assert error([(2, 1, 2)]) > 30  # statsforecast's optimiser ends far off
    assert error(shipped["order"]) < 9


def problem_of(
    y: np.ndarray, ds: pd.DatetimeIndex, freq: str, season: int, horizon: int
) -> Problem:
    """One series, cut into blocks by shares of its rows."""
    entry = problems.dataset(
        target={"column": "y"},
        past_exogenous=[],
        calendar_features=[],
        calendar={"kind": "regular", "freq": freq},
        horizon=horizon,
        lookback=season,
        season_length=season,
        splits={"train": 0.6, "validation": 0.2, "calibration": 0.1},
    )
    known = panel.from_frame(pd.DataFrame({"unique_id": "y", "ds": ds, "y": y}), "y", entry.task)
    return Problem.of(known, splits.resolve_borders(known, entry.splits))


def seasonal_cases() -> dict[str, tuple[np.ndarray, pd.DatetimeIndex, str, int]]:
    """AirPassengers, whose season grows with the level, and hours as in M4, of which a day is added
    around zero.
    """
    statsforecast_models()  # lets no warning of an import through
    from statsforecast.utils import AirPassengersDF as air

    hours, rng = np.arange(500), np.random.default_rng(1)
    day = np.sin(2 * np.pi * hours / 24) + 0.4 * np.cos(4 * np.pi * hours / 24)
    level = np.cumsum(rng.normal(0, 0.02, 500))
    ds = pd.date_range("2024-01-01", periods=500, freq="h")
    added = 8 * level + 3 * day + rng.normal(0, 0.3, 500)
    return {
        "air passengers": (air["y"].to_numpy(), pd.DatetimeIndex(air["ds"]), "ME", 12),
        "a day that adds": (added, ds, "1h", 24),
    }


def refit_ets(
    monkeypatch: pytest.MonkeyPatch, y: np.ndarray, season: int, entry: dict[str, str]
) -> tuple[auto_ets.Ets, auto_ets.Ets, list[dict[str, object]]]:
    """The first fit of an entry, the refit on 80 % of the rows, and the options of both."""
    forms_asked = []
    real = auto_ets.Ets.fit
    monkeypatch.setattr(
        auto_ets.Ets,
        "fit",
        lambda y, season, **options: forms_asked.append(options) or real(y, season, **options),
    )
    ets = find({"family": "auto_ets", **entry}, where="test")
    ds = pd.date_range("2024-01-01", periods=len(y), freq="h")
    problem = problem_of(y, ds, "1h", season, 4)
    fit_options = {"skip": None, "seed": 0, "budget": Budget(0, 1)}
    first = fit(problem, ets, **fit_options)
    refitted = fit_again(problem, ets, first, **fit_options)
    (first_model,), (second_model,) = (
        first.forecaster.statistical["y"],
        refitted.forecaster.statistical["y"],
    )
    return first_model.model, second_model.model, forms_asked


def test_a_refit_of_ets_on_many_rows_keeps_the_form_that_the_first_fit_chose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To choose takes fifteen fits of every series, to fit again one."""
    y = seasonal_series(positive=False, rows=3 * auto_ets.MAX_CHOICE_ROWS // 2)
    first_model, second_model, forms_asked = refit_ets(monkeypatch, y, 8, {"seasonal": "kept"})
    form = first_model.components
    assert forms_asked == [{"form": "ZZA"}, {"form": form[:3], "is_damped": form[3] != "N"}]
    assert second_model.components == form and second_model.parameters != first_model.parameters


def test_a_refit_of_ets_on_a_few_hundred_rows_chooses_its_form_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The season begins after the first fit, which could not see it."""
    y = seasonal_series(positive=False, rows=500)
    n_first = int(0.6 * len(y))
    noise = np.random.default_rng(4).normal(size=n_first)
    y[:n_first] = 0.3 * np.cumsum(noise)
    first_model, second_model, forms_asked = refit_ets(monkeypatch, y, 8, {})
    assert forms_asked == [{"form": "ZZZ"}, {"form": "ZZZ"}]
    assert first_model.components[2] == "N" and second_model.components[2] == "A"


def test_ets_chooses_again_where_values_of_validation_forbid_what_could_multiply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y = seasonal_series(positive=True, rows=3 * auto_ets.MAX_CHOICE_ROWS // 2)
    y[int(0.65 * len(y))] = -1.0  # a row of validation
    _, _, forms_asked = refit_ets(monkeypatch, y, 8, {})
    assert [options["form"] for options in forms_asked] == ["ZZZ", "ZZZ"]


BY_HAND: dict[str, tuple[dict[str, Any], Callable[[int], Any]]] = {
    "theta": ({}, lambda m: statsforecast_models().Theta(season_length=m)),
    "auto_theta": ({}, lambda m: statsforecast_models().AutoTheta(season_length=m)),
    "auto_ets": ({}, lambda m: statsforecast_models().AutoETS(season_length=m)),
    "ets_seasonal": (
        {"family": "auto_ets", "seasonal": "kept"},
        lambda m: statsforecast_models().AutoETS(season_length=m, model="ZZA"),
    ),
    "mstl": ({}, lambda m: statsforecast_models().MSTL(season_length=m)),
}


@pytest.mark.parametrize("row", BY_HAND)
@pytest.mark.parametrize("case", ["air passengers", "a day that adds"])
def test_a_row_says_what_statsforecast_says_of_the_same_numbers_by_hand(
    case: str, row: str
) -> None:
    """On numbers above zero, for a season that multiplies; on centred ones where nothing can
    multiply anyway; in the fine units of their deviation.
    """
    y, ds, freq, season = seasonal_cases()[case]
    options, by_hand = BY_HAND[row]
    problem = problem_of(y, ds, freq, season, horizon=season)
    entry = find({"family": row, **options}, where="test")
    fitted = fit(problem, entry, skip=None, seed=0, budget=Budget(1, 1))
    last = problem.blocks["y"].train[1] - 1
    got = fitted.forecaster.predict(problem.panel, {"y": np.array([last])})["y"][0, :, 0]
    train = y[: last + 1]
    centre = 0.0 if train.min() > 0 else train.mean()
    scale = train.std() / auto_theta.FINE_UNIT
    expected = (
        by_hand(season).fit((train - centre) / scale).predict(season)["mean"] * scale + centre
    )
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6 * np.abs(y).max())


def test_of_a_short_list_of_orders_the_one_of_lowest_aicc_is_taken() -> None:
    rng = np.random.default_rng(0)
    y = lfilter([1.0], [1.0, -1.2, 0.5], rng.normal(size=400))
    orders = [(1, 0, 0), (2, 0, 0), (0, 0, 1)]
    fitted = fitted_to("auto_arima", y, options={"candidates": orders})
    aicc = {
        order: statsforecast_models().ARIMA(order=order).fit(y).model_["aicc"] for order in orders
    }
    assert min(aicc, key=aicc.__getitem__) == (2, 0, 0)
    assert fitted == fitted_to("auto_arima", y, options={"candidates": [(2, 0, 0)]})


@pytest.mark.parametrize(
    ("given", "orders"),
    [([2, 1, 2], ((2, 1, 2),)), ([[1, 1, 1], [2, 1, 2]], ((1, 1, 1), (2, 1, 2)))],
)
def test_a_row_takes_one_order_or_a_list_of_one_d(
    given: list[Any], orders: tuple[tuple[int, ...], ...]
) -> None:
    entry = {"family": "auto_arima", "fourier": 2, "order": given}
    assert find(entry, where="test").order == orders


@pytest.mark.parametrize("given", [[], [[1, 0, 1], [1, 1, 1]]])
def test_orders_that_aicc_cannot_compare_are_refused(given: list[Any]) -> None:
    with pytest.raises(InputError, match="wanted at least one order, all with one d"):
        find({"family": "auto_arima", "order": given}, where="test")


STATISTICAL_ROWS: dict[str, dict[str, Any]] = {
    "historical": {"family": "historical"},
    "har": {"family": "har"},
    "auto_ets": {"family": "auto_ets"},
    "ets_seasonal": {"family": "auto_ets", "seasonal": "kept"},
    "theta": {"family": "theta"},
    "auto_theta": {"family": "auto_theta"},
    "arima": {"family": "auto_arima", "order": [2, 1, 2]},
    "arima_fourier": {"family": "auto_arima", "fourier": 2, "order": [[2, 1, 2], [0, 1, 1]]},
    "mstl": {"family": "mstl"},
}


def test_the_rows_that_are_rescaled_are_of_all_statistical_families() -> None:
    families = {name for name, spec in catalogue().items() if issubclass(spec, StatisticalSpec)}
    assert families == {row["family"] for row in STATISTICAL_ROWS.values()}


MONTHS = 74
TRAIN_MONTHS = 44


def forecasts_of(entry: dict[str, Any], y: np.ndarray) -> np.ndarray:
    """(origins, 3) of monthly values, fitted on their train rows, from its end on."""
    row = find(entry, where="test")
    season = 1 if row.reason_unsuited(6) else 6
    ds = pd.date_range("2015-01-01", periods=MONTHS, freq="MS")
    problem = problem_of(y, ds, "MS", season, 3)
    assert problem.blocks["y"].train == (0, TRAIN_MONTHS)
    fitted = fit(problem, row, skip=None, seed=0, budget=Budget(0, 1))
    rows = np.arange(TRAIN_MONTHS - 1, MONTHS)
    return fitted.forecaster.predict(problem.panel, {"y": rows})["y"][..., 0]


def season_and_walk(draw: int, *, above_zero: bool) -> np.ndarray:
    """Monthly values above zero, or on both sides of it in the train rows."""
    rng = np.random.default_rng(draw)
    y = rng.uniform(0, 3) * np.sin(np.arange(MONTHS) / 6 * 2 * np.pi) + rng.normal(size=MONTHS)
    y += 0.5 * np.cumsum(rng.normal(size=MONTHS))
    return y - y.min() + 1 if above_zero else y - y[:TRAIN_MONTHS].mean()


@pytest.mark.parametrize("name", STATISTICAL_ROWS)
@hypothesis.settings(max_examples=2)
@hypothesis.given(
    draw=strategies.integers(0, 1000),
    above_zero=strategies.booleans(),
    power=strategies.integers(-40, 40),
    factor=strategies.sampled_from([0.001, 0.3, 1.8, 1000.0]),
    shift=strategies.floats(-0.9, 0.9),
)
def test_another_unit_or_zero_of_the_target_gives_the_same_forecasts(
    name: str, draw: int, above_zero: bool, power: int, factor: float, shift: float
) -> None:
    """To the bit for a power of two, else but for rounding; another zero only where nothing can
    multiply before and after.
    """
    entry = STATISTICAL_ROWS[name]
    y = season_and_walk(draw, above_zero=above_zero)
    expected = forecasts_of(entry, y)
    tolerance: dict[str, Any] = {"rtol": 0, "atol": 1e-9 * np.abs(y).max()}
    np.testing.assert_array_equal(forecasts_of(entry, y * 2.0**power), expected * 2.0**power)
    np.testing.assert_allclose(forecasts_of(entry, y * factor) / factor, expected, **tolerance)
    if not above_zero:
        train = y[:TRAIN_MONTHS]
        step = shift * min(train.max(), -train.min())
        np.testing.assert_allclose(forecasts_of(entry, y + step) - step, expected, **tolerance)


@pytest.mark.parametrize("counts", [[0, 1, 2, 1], [0, 0, 3, 7, 1, 0], [5, 0, 1000, 2]])
def test_a_zero_stays_a_zero_so_that_nothing_multiplies(counts: list[int]) -> None:
    """Scaled and back it became 1e-16: a season that multiplied, and forecasts without bound."""
    for draw in range(20):
        y = np.random.default_rng(draw).choice(counts, MONTHS).astype(float)
        y[0] = 0.0
        ds = pd.date_range("2015-01-01", periods=MONTHS, freq="MS")
        problem = problem_of(y, ds, "MS", 6, 3)
        fitted = fit(problem, THETA, skip=None, seed=0, budget=Budget(0, 1))
        assert fitted.forecaster.statistical["y"][0].offset == 0


def test_a_level_that_fell_and_a_season_that_multiplies_forecast_nothing_without_bound() -> None:
    """Fitted to the higher level too, the season multiplied by hundreds: 16 times the range."""
    t = np.arange(48)
    n_held = 0
    for draw in range(12):
        rng = np.random.default_rng(draw)
        y = rng.poisson(20 * (1 + 0.5 * np.sin(2 * np.pi * t / 12))) * 1.0 + 1
        y[30:] = np.round(50 * y[30:])
        problem = problem_of(y, pd.date_range("2020-01-01", periods=48, freq="MS"), "MS", 12, 4)
        options: dict[str, Any] = {"skip": None, "seed": 0, "budget": Budget(0, 1)}
        entry = find({"family": "auto_ets"}, where="test")
        model = fit_again(problem, entry, fit(problem, entry, **options), **options).forecaster
        rows = np.arange(37, 48)
        got = model.predict(problem.panel, {"y": rows})["y"][..., 0]
        low, high = np.minimum.accumulate(y)[rows, None], np.maximum.accumulate(y)[rows, None]
        tolerance = 1e-9 * high
        assert (got >= 2 * low - high - tolerance).all()
        assert (got <= 2 * high - low + tolerance).all()
        n_held += int(np.isclose(got, 2 * high - low).sum())
    assert n_held  # it was needed


def test_a_trend_goes_on_however_long_the_horizon() -> None:
    y = np.arange(5.0)[:, None]
    ahead = np.arange(5.0, 17.0)[None, :, None]
    assert (statistical.hold_to_history(ahead, y, np.array([4])) == ahead).all()
    falling = statistical.hold_to_history(-ahead, -y, np.array([4]))
    assert (falling == -ahead).all()


def test_forecasts_are_held_to_the_rows_up_to_their_origin() -> None:
    y = np.array([1.0, 2.0, 1.0, 9.0])[:, None]
    wild = np.array([5e8, -5e8, np.inf, np.nan]).reshape(1, 4, 1).repeat(2, axis=0)
    bounded = statistical.hold_to_history(wild, y, np.array([2, 3]))[..., 0]
    # three steps ahead of three rows
    np.testing.assert_allclose(bounded, [[3, 0, 2 + 3 / 2, np.nan], [17, -7, 17, np.nan]])


def test_a_held_forecast_does_not_depend_on_the_steps_asked_behind_it() -> None:
    y = np.array([1.0, 2.0, 1.0])[:, None]
    wild = np.full((1, 12, 1), 5e8)
    longest = statistical.hold_to_history(wild, y, np.array([2]))
    assert np.ptp(longest) > 0  # the horizon exceeds the history
    for horizon in range(1, 12):
        bounded = statistical.hold_to_history(wild[:, :horizon], y, np.array([2]))
        assert (bounded == longest[:, :horizon]).all()


@pytest.mark.parametrize("season", [4, 7, 12, 24])
def test_fewer_rows_than_fourier_terms_are_refused_in_words(season: int) -> None:
    fitted = auto_arima.Spec(family="auto_arima", fourier=6, order=[0, 1, 1])
    n_terms = 2 * min(6, (season - 1) // 2)
    y = np.random.default_rng(0).normal(size=n_terms)
    fitted.fit_series(y, season)
    with pytest.raises(ModelError, match=rf"pairs need {n_terms}; give a longer history"):
        fitted.fit_series(y[1:], season)


def test_fourier_terms_are_compared_with_the_rows_that_are_fitted() -> None:
    entry = auto_arima.Spec(family="auto_arima", fourier=30, order=[0, 1, 1], last=50)
    y = np.random.default_rng(0).normal(size=500)
    with pytest.raises(ModelError, match=r"30 Fourier pairs need 60; .* a larger `last`"):
        entry.fit_series(y, 61)
