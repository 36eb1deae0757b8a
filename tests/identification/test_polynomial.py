"""Polynomial NARX models: their derivatives, the choice of their terms, and the formula of a system
with a known law.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.signal import lfilter

from forecast.identification import (
    Experiment,
    Model,
    export,
    formula,
    frols,
    narxnet,
    random_steps,
    term_search,
)
from forecast.identification.narx import Narx
from forecast.identification.polynomial import error_reductions, multiply_columns, select_terms
from forecast.identification.problems import ClosedLoop
from forecast.system.errors import InputError, ModelError
from forecast.training import levenberg_marquardt as lm

TERMS = ((), (0,), (4,), (0, 4), (1, 1, 5), (2, 6))


def test_the_derivatives_of_its_free_run_are_those_by_differences() -> None:
    rng = np.random.default_rng(0)
    net = Narx(2, 2, (1, 2), (0, 1), 0, low=(-1.0, -1.0), high=(1.0, 1.0), terms=TERMS)
    e = Experiment(rng.normal(size=(60, 2)), rng.normal(size=(60, 2)))
    weights = 0.2 * rng.normal(size=net.n_weights)
    problem = ClosedLoop(net, [e], 3)
    blocks = list(problem.blocks(weights))
    jacobian = np.concatenate([block for _, block in blocks], axis=1)
    for place in range(net.n_weights):
        step = np.zeros(net.n_weights)
        step[place] = 1e-6
        ends = [ClosedLoop(net, [e], 3).residuals(weights + sign * step) for sign in (1, -1)]
        np.testing.assert_allclose(jacobian[place], (ends[0] - ends[1]) / 2e-6, atol=1e-6)


def test_the_terms_of_a_law_are_chosen_in_the_order_of_what_they_explain() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(500, 3))
    y = (2.0 * z[:, 0] + 0.5 * z[:, 1] * z[:, 2] - 0.1 * z[:, 2] ** 3)[:, None]
    terms, weights = select_terms(z, y + 0.001 * rng.normal(size=y.shape), degree=3, max_terms=8)
    assert terms[:2] == ((0,), (1, 2)) and set(terms) == {(0,), (1, 2), (2, 2, 2)}
    ratios = error_reductions(z, y, terms)
    assert list(ratios) == sorted(ratios, reverse=True)
    assert sum(ratios) == pytest.approx(1.0, abs=1e-4)
    fit = multiply_columns(z, terms) @ weights[:, None]
    assert np.std(fit - y) < 0.001


@pytest.mark.parametrize("rows", [0, 3])
def test_too_few_whole_rows_to_choose_a_term_are_refused(rows: int) -> None:
    e = system(60, 0)
    y = e.y.copy()
    y[2 + rows :] = np.nan
    y[40] = 25.0
    with pytest.raises(ModelError, match=f"No term explains the {rows} rows whose y and delays"):
        frols(Experiment(e.u, y))


def system(rows: int, seed: int) -> Experiment:
    """In units far from 0 and 1: y moves with the product of its own past and the input."""
    u = 300 + 40 * np.random.default_rng(seed).uniform(-1, 1, size=rows)
    y = np.full(rows, 20.0)
    for t in range(1, rows):
        y[t] = 0.6 * y[t - 1] + 0.02 * u[t - 1] + 0.0005 * y[t - 1] * u[t - 1]
    return Experiment(u, y)


def test_a_law_is_written_in_the_units_of_the_data_and_simulated(tmp_path) -> None:
    e = system(300, 0)
    model = frols(e, input_delays=(1, 2), feedback_delays=(1,), degree=2)
    assert model.notes[0] == formula(model)
    parts = formula(model).split(" = ")[1].replace(" y[t-1] u[t-1]", "*yu")
    values = dict(reversed(part.split(" ", 1)) for part in parts.split(" +") if " " in part)
    assert float(values["y[t-1]"]) == pytest.approx(0.6, rel=0.01)
    assert "+0.0005*yu" in parts
    test_record = system(200, 1)
    run = model.simulate(test_record.u, test_record.y[: model.start, 0])
    assert np.nanmax(np.abs(run.y - test_record.y[:, 0])) < 0.02
    model.save(tmp_path)
    np.testing.assert_array_equal(
        Model.load(tmp_path).simulate(test_record.u, test_record.y[:2]).y[:, 0], run.y
    )
    export(model, tmp_path / "law.py")
    names: dict = {}
    exec((tmp_path / "law.py").read_text(), names)
    np.testing.assert_allclose(
        names["simulate"](test_record.u, test_record.y[:2])[:, 0], run.y, rtol=1e-9
    )


def test_a_model_without_a_formula_and_options_that_are_none_are_refused() -> None:
    e = system(60, 0)
    model = frols(e)
    with pytest.raises(InputError, match="A set has no formula"):
        formula(Model.average(model, model))
    with pytest.raises(InputError, match="`degree` is 0; wanted a whole number from 1"):
        frols(e, degree=0)
    with pytest.raises(InputError, match=r"`terms` is 3\.5; wanted a whole number from 1"):
        frols(e, terms=3.5)


def test_the_text_of_a_formula_simulates_as_its_model_does_at_a_high_level() -> None:
    e = system(300, 0)
    high = Experiment(e.u, 1000 + e.y)
    model = frols(high)
    law = re.sub(r"([-+][\d.e+-]+) (?=[uy]\[)", r"\1 * ", formula(model).partition(" = ")[2])
    law = law.replace("] y[", "] * y[").replace("] u[", "] * u[")
    u, y = high.u[:, 0], high.y[:, 0].copy()
    start = model.start
    for t in range(start, len(y)):
        y[t] = eval(law, {"t": t, "u": u, "y": y})
    np.testing.assert_allclose(y[start:], model.simulate(u, high.y[:start, 0]).y[start:], atol=1e-4)


def test_a_net_given_before_the_record_is_named() -> None:
    with pytest.raises(InputError, match=r"Got Net where .* Give `Experiment\(u, y\)`"):
        frols(narxnet(), system(60, 0))


def test_a_term_that_the_run_does_not_feel_goes_first_and_without_a_warning() -> None:
    """A constant input is 0 once scaled, and its weight has no variance."""
    y = lfilter([1.0], [1.0, -0.9], np.random.default_rng(0).normal(size=(200, 1)), axis=0)
    net = Narx(1, 1, (1,), (0,), 0, terms=((0,), (1,)))
    record = [Experiment(np.zeros(200), y)]
    weights = np.array([0.9, 1e5])
    given = term_search.Polynomial(net, weights, np.inf)
    polynomial = term_search.TermSearch(record, 1)._drop_terms(given)
    assert polynomial.net.terms == ((0,),)


def test_the_terms_so_far_are_kept_where_the_run_without_one_diverges(monkeypatch) -> None:
    u = random_steps(200, hold=1, seed=3)
    y = lfilter([0.4], [1.0, -0.5], u)
    record = Experiment(u, y)
    minimise, runs = lm.minimise, []

    def diverge_later(*arguments, **options):
        runs.append(arguments)
        if len(runs) > 1:
            raise ModelError("the run diverges")
        return minimise(*arguments, **options)

    monkeypatch.setattr(term_search.lm, "minimise", diverge_later)
    model = frols(record, input_delays=(0, 1), feedback_delays=(1,))
    assert len(runs) > 1
    assert np.isfinite(model.simulate(u, y[: model.start]).y[model.start :]).all()


def test_a_hammerstein_system_under_a_slow_input_is_found_by_its_free_run() -> None:
    """One step ahead, past y takes the place of the square of a held input."""

    def simulate(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        u = random_steps(rows, hold=3, seed=seed)
        return u, lfilter([0.4, 0.2], [1.0, -0.9, 0.3], u + 0.6 * u**2)

    u, y = simulate(100, 520)
    noise = 0.02 * y.std()
    rng = np.random.default_rng(0)
    record = Experiment(u, y + noise * rng.normal(size=len(y)))
    model = frols(record, input_delays=(0, 1, 2, 3), feedback_delays=(1, 2, 3))
    u, y = simulate(101, 400)
    error = (model.simulate(u, y[: model.start]).y - y)[10:]
    assert np.sqrt(np.mean(error**2)) < 0.16 * noise
    assert len(model.net.terms) <= 9
    products = [
        note.split(": error-reduction ratio ")[0] for note in model.notes if " ratio " in note
    ]
    sums = formula(model).split(" = ")[1]
    assert len(products) == len(model.net.terms)
    assert all(product == "1" or f" {product}" in sums for product in products)
