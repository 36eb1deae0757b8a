"""Polynomial NARX models for users: `frols` finds one, `formula` writes it in the data's units.

`identify` has polynomials among its candidates and writes the shortest with `formula`, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product

import numpy as np

from forecast.identification.data import dividetrain
from forecast.identification.experiment import (
    Array,
    Experiment,
    Standardization,
    count_columns,
    require_whole,
)
from forecast.identification.model import Model, TrainingRecord
from forecast.identification.nets import Net, check_delays
from forecast.identification.polynomial import Term, error_reductions
from forecast.identification.problems import OpenLoop
from forecast.identification.rows import DividedRows
from forecast.identification.term_search import TermSearch
from forecast.identification.training import add_report
from forecast.system.errors import InputError, ModelError


def frols(
    *experiments: Experiment,
    input_delays: int | Iterable[int] = (1, 2),
    feedback_delays: int | Iterable[int] = (1, 2),
    degree: int = 3,
    terms: int = 12,
) -> Model:
    """A polynomial in the delayed y and u, of at most `terms` terms, as a formula in its notes.

    Its terms are chosen by their error-reduction ratio one step ahead, then by the free run
    (`term_search`), on which its coefficients are trained, so that noise on y does not bias them.
    Where the free run diverges, terms and coefficients are those of the one-step fit, and a note
    says so. The notes have the error-reduction ratio of every term. All rows train.
    `InputError` unless `degree` and `terms` are whole numbers from 1 up.
    """
    require_whole(1, degree=degree, terms=terms)
    inputs, _ = count_columns(experiments)
    y_delays = check_delays("feedback_delays", feedback_delays, least=1)
    u_delays = check_delays("input_delays", input_delays) if inputs else ()
    net = Net("polynomial", (), u_delays, y_delays)
    rows = DividedRows.of(net, experiments, dividetrain())
    scaling = Standardization.fit(rows.experiments)
    scaled = [scaling.scale(e) for e in rows.experiments]
    narx = net.narx_form(*rows.sizes)
    search = TermSearch(scaled, net.start, degree, terms)
    lost = []
    try:
        polynomial = search.find_terms(narx, narx.find_origin(scaling))
    except ModelError:
        polynomial = search.fit_one_step(narx)
        lost = ["Its free run diverges; the coefficients are those of the one-step fit."]
    narx, weights = polynomial.net, polynomial.weights
    problem = OpenLoop(narx, scaled, net.start)
    z_origin, y_origin = narx.origins
    ratios = error_reductions(problem.z - z_origin, problem.y - y_origin, narx.terms)
    notes = [
        f"{_product(term, narx.column_names())}: error-reduction ratio {100 * ratio:.3g} %"
        for term, ratio in zip(narx.terms, ratios, strict=True)
    ]
    net = replace(net, terms=narx.terms, origin=narx.origin)
    training = TrainingRecord("terms chosen", loop="parallel", for_use="simulation")
    model = add_report(Model(net, narx.unflatten(weights), scaling, training), rows)
    notes = [formula(model), *notes, *lost, *model.notes]
    return replace(model, training=replace(model.training, notes=tuple(notes)))


def formula(model: Model, *, digits: int = 12) -> str:
    """y[t] of a polynomial in the units of the data, a line for each output; `InputError` for
    another model. Where y varies little about a high level, few `digits` make another model.
    """
    if not isinstance(model.net, Net) or not model.net.terms:
        raise InputError(f"A {model.net.kind} has no formula; wanted a model of `frols`.")
    narx = model.net.narx_form(model.inputs, model.outputs)
    scaling = model.scaling
    columns = [column for column, _ in narx.held_back]
    y_mean = scaling.y_mean
    z_mean = narx.repeat_over_delays(y_mean, scaling.u_mean[columns])
    if narx.origin:  # its terms multiply data that keep their means
        y_mean, z_mean = np.zeros_like(y_mean), np.zeros_like(z_mean)
    z_scale = narx.repeat_over_delays(scaling.y_scale, scaling.u_scale[columns])
    coefficients = np.asarray(model.weights["coefficients"])
    names = narx.column_names()
    lines = []
    for output in range(model.outputs):
        expanded = _expand(narx.terms, coefficients[:, output], z_mean, z_scale)
        parts = {term: value * scaling.y_scale[output] for term, value in expanded.items()}
        parts[()] = parts.get((), 0.0) + y_mean[output]
        summands = []
        for term in sorted(sorted(term for term in parts if parts[term]), key=len):
            factor = f" {_product(term, names)}" if term else ""
            summands.append(f"{parts[term]:+.{digits}g}{factor}")
        name = "y" if model.outputs == 1 else f"y{output + 1}"
        lines.append(f"{name}[t] = {' '.join(summands)}")
    return "\n".join(lines)


def _expand(
    terms: tuple[Term, ...], coefficients: Array, means: Array, scales: Array
) -> dict[Term, float]:
    """The coefficient of every product of columns in the units of the data that a sum of products
    of (column - mean) / scale has.
    """
    expanded: dict[Term, float] = {}
    for term, coefficient in zip(terms, coefficients, strict=True):
        for has_columns in product((True, False), repeat=len(term)):
            value = float(coefficient)
            left = []
            for column, has_column in zip(term, has_columns, strict=True):
                value /= scales[column]
                if has_column:
                    left.append(column)
                else:
                    value *= -means[column]
            expanded[tuple(left)] = expanded.get(tuple(left), 0.0) + value
    return expanded


def _product(term: Term, names: list[str]) -> str:
    """The product of the columns of a term; "1" for the constant."""
    powers = {column: term.count(column) for column in term}
    factors = [names[c] if power == 1 else f"{names[c]}^{power}" for c, power in powers.items()]
    return " ".join(factors) or "1"
