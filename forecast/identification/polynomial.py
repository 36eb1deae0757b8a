"""Polynomials in the columns z that a NARX net sees, and the choice of their terms (FROLS).

`narx.Narx` computes with a `PolynomialLayer` where it has `terms`; loops, derivatives and training
are those of every net. `select_terms` is forward regression with the error-reduction ratio
(Billings, Korenberg & Chen 1988): of all products up to a degree it takes one after the other, each
time the one whose part orthogonal to those taken explains most of y, and stops where Schwarz's
criterion is least. It sees one-step errors, which noise on y biases; `term_search` goes on by the
free run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt

from forecast.system.errors import ModelError
from forecast.training.levenberg_marquardt import Array

Term = tuple[int, ...]
"""The columns of z that a product multiplies, a column as often as its power; () is 1."""

MAX_PRODUCTS = 400  # to choose from; a lower degree where there are more, but never below 1
ROUNDING = 1e-14  # of the sum of squares of y: less than this is rounding
NO_PART = 1e-8  # of the sum of squares of a product: less left of it is rounding


@dataclass(frozen=True)
class PolynomialLayer:
    """v = C' p(z - z_origin) + y_origin, p the products of columns that `terms` names.

    `z_origin` (d,) and `y_origin` (O,), scaled: 0 for products of data without their means, or 0 of
    the data's own units. The weights are one flat vector, C (terms, O). The methods are those of
    `training.one_layer.OneLayer` but `split`.
    """

    terms: tuple[Term, ...]
    z_origin: Array
    y_origin: Array

    @property
    def n_weights(self) -> int:
        """The length of the flat vector."""
        return len(self.terms) * len(self.y_origin)

    def coefficients(self, weights: Array) -> Array:
        """C (terms, O), or (..., terms, O) of several weights (..., n_weights)."""
        return weights.reshape(*weights.shape[:-1], len(self.terms), len(self.y_origin))

    def flatten(self, weights: Mapping[str, Array], layer: str) -> Array:
        """The flat vector of the weights by name; `layer` is not used."""
        return np.asarray(weights["coefficients"], np.float64).ravel()

    def unflatten(self, flat: Array, layer: str) -> dict[str, Array]:
        """The inverse of `flatten`."""
        return {"coefficients": self.coefficients(flat).copy()}

    def value(self, weights: Array, z: Array) -> Array:
        """v (rows, O) from z (rows, d)."""
        products = multiply_columns(z - self.z_origin, self.terms)
        return products @ self.coefficients(weights) + self.y_origin

    def of_row(self, weights: Array) -> Callable[[Array, Array], object]:
        """The map of one row: writes v (O,) of z (d + 1,), whose last number is a one, to its
        second argument; of several weights (runs, n_weights) v (runs, O) of z (runs, d + 1).
        """
        numbers = column_numbers(self.terms, len(self.z_origin))
        origin = np.append(self.z_origin, 0.0)
        multiply = np.multiply.reduce  # `prod` without its overhead for single rows
        coefficients = self.coefficients(weights)
        by_output = coefficients.T.copy()

        def write_one(z: Array, v: Array) -> None:
            by_output.dot(multiply((z - origin).take(numbers), axis=1), v)
            v += self.y_origin

        def write_several(z: Array, v: Array) -> None:
            products = multiply((z - origin)[..., None, numbers], axis=-1)
            np.matmul(products, coefficients, out=v[..., None, :])
            v += self.y_origin

        return write_one if weights.ndim == 1 else write_several

    def linearised(self, weights: Array, z: Array, columns: int) -> tuple[Array, Array]:
        """v (O, rows) and dv/dz (O, columns, rows) for the first `columns` of z (d, rows)."""
        coefficients = self.coefficients(weights)
        factors = _factors(z.T - self.z_origin, self.terms)
        slopes = np.zeros((len(self.y_origin), columns, z.shape[1]))
        for place, numbers in enumerate(column_numbers(self.terms, len(z)).T):
            others = np.delete(factors, place, axis=0).prod(axis=0)
            # which column each term multiplies at this place
            is_column = np.arange(columns)[:, None] == numbers
            slopes += (is_column * coefficients.T[:, None]) @ others
        return (factors.prod(axis=0).T @ coefficients + self.y_origin).T, slopes

    def jacobian(self, weights: Array, z: Array) -> Array:
        """dv/dw at fixed z (rows, d), transposed: (n_weights, rows, O)."""
        products = multiply_columns(z - self.z_origin, self.terms)
        jacobian = np.einsum("rt,oq->torq", products, np.eye(len(self.y_origin)))
        return jacobian.reshape(self.n_weights, len(z), -1)


def multiply_columns(z: Array, terms: tuple[Term, ...]) -> Array:
    """(rows, terms): the product of the columns of z (rows, d) that each term names."""
    return _factors(z, terms).prod(axis=0).T


def _factors(z: Array, terms: tuple[Term, ...]) -> Array:
    """(degree, terms, rows): the factors of each term in z (rows, d), filled up with ones."""
    longer = np.vstack([z.T, np.ones(len(z), dtype=z.dtype)])
    return longer[column_numbers(terms, z.shape[1]).T]


@lru_cache
def column_numbers(terms: tuple[Term, ...], columns: int) -> npt.NDArray[np.intp]:
    """(terms, degree): the columns of each term, filled up with `columns`, where a one stands."""
    degree = max(1, *map(len, terms))
    return np.array([(*term, *(columns,) * (degree - len(term))) for term in terms])


def select_terms(
    z: Array, y: Array, *, degree: int, max_terms: int
) -> tuple[tuple[Term, ...], Array]:
    """At most `max_terms` products of columns of z (rows, d), in the order they were chosen, and
    the flat C (terms, O) of their least-squares fit to y (rows, O).

    Products have up to `degree` factors, fewer where there were more than `MAX_PRODUCTS`, but
    the columns themselves are always all there. Several outputs share their terms, chosen by the
    sum of squares of all. `ModelError` where no term explains y, as in fewer than four rows.
    """
    candidates = _list_products(z.shape[1], degree)
    products = multiply_columns(z, candidates)
    parts = products.copy()  # the part of each product that is orthogonal to those chosen
    left = y.copy()  # what the chosen products do not explain
    sizes = np.sum(products**2, axis=0)
    least = ROUNDING * max(float(np.sum(y**2)), 1e-300)
    chosen: list[int] = []
    criteria = []
    for count in range(1, 1 + min(max_terms, len(candidates), len(y) // 4)):
        squares = np.sum(parts**2, axis=0)
        explained = np.sum((parts.T @ left) ** 2, axis=1) / np.maximum(squares, 1e-300)
        explained[squares <= NO_PART * sizes] = 0.0
        best = int(np.argmax(explained))
        if explained[best] < least:
            break
        chosen.append(best)
        part = parts[:, best] / np.sqrt(squares[best])
        left -= np.outer(part, part @ left)
        parts -= np.outer(part, part @ parts)
        error = max(float(np.sum(left**2)), least)
        criteria.append(y.size * np.log(error) + np.log(len(y)) * y.shape[1] * count)
    if not chosen:
        raise ModelError(
            f"No term explains the {len(y)} rows whose y and delays are all observed; wanted 4 at"
            " least, and a y that moves in them. Take fewer delays, or `identify`."
        )
    columns = chosen[: int(np.argmin(criteria)) + 1]
    coefficients = np.asarray(np.linalg.lstsq(products[:, columns], y, rcond=None)[0], np.float64)
    terms = tuple(candidates[column] for column in columns)
    return terms, coefficients.ravel()


def error_reductions(z: Array, y: Array, terms: tuple[Term, ...]) -> Array:
    """(terms,): the share of the sum of squares of y (rows, O) that each term explains beside the
    terms before it.
    """
    directions, _ = np.linalg.qr(multiply_columns(z, terms))
    return np.sum((directions.T @ y) ** 2, axis=1) / np.sum(y**2)


def _list_products(columns: int, degree: int) -> tuple[Term, ...]:
    """All products of up to `degree` factors from as many `columns`, the constant first; of fewer
    factors, but at least one, where there are more than `MAX_PRODUCTS`.
    """
    products: list[Term] = [()]
    for power in range(1, degree + 1):
        longer = list(combinations_with_replacement(range(columns), power))
        if power > 1 and len(products) + len(longer) > MAX_PRODUCTS:
            break
        products += longer
    return tuple(products)
