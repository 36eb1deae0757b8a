"""A polynomial in what a NARX net sees, and the choice of its terms by orthogonal least squares.

`narx.Narx` computes with a `PolynomialLayer` where it has `terms`, so loops, derivatives of the
free run and training are those of every net. `select_terms` is FROLS, forward regression with the
error-reduction ratio (Billings, Korenberg & Chen 1988). Of all products up to a degree it takes one
after the other: the next is that whose part orthogonal to those taken explains most of y. It stops
where Schwarz's criterion is least. It sees one-step errors, which noise on y biases: `term_search`
goes on by the free run.
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
"""A product of columns of z, a column as often as its power; () is the constant."""

MAX_PRODUCTS = 400  # to choose from: a lower degree where there are more
ROUNDING = 1e-14  # of y's sum of squares: less is left or explained by rounding alone
NO_PART = 1e-8  # of its square: a product left with less is a sum of those chosen


@dataclass(frozen=True)
class PolynomialLayer:
    """v = C' p(z), p the products of the columns of z (rows, `regressors`) that `terms` names.

    Its weights are one flat vector (n_weights,): C (terms, `outputs`). The methods are those of
    `training.one_layer.OneLayer`.
    """

    terms: tuple[Term, ...]
    regressors: int
    outputs: int

    @property
    def n_weights(self) -> int:
        """The length of the flat vector."""
        return len(self.terms) * self.outputs

    def coefficients(self, weights: Array) -> Array:
        """C (terms, O), or of each of several (..., n_weights)."""
        return weights.reshape(*weights.shape[:-1], len(self.terms), self.outputs)

    def flatten(self, weights: Mapping[str, Array], layer: str) -> Array:
        """The flat vector of the weights by name; a polynomial has no `layer`."""
        return np.asarray(weights["coefficients"], np.float64).ravel()

    def unflatten(self, flat: Array, layer: str) -> dict[str, Array]:
        """The inverse of `flatten`."""
        return {"coefficients": self.coefficients(flat).copy()}

    def value(self, weights: Array, z: Array) -> Array:
        """v (rows, O) from z (rows, d)."""
        return multiply_columns(z, self.terms) @ self.coefficients(weights)

    def of_row(self, weights: Array) -> Callable[[Array, Array], object]:
        """The map of a single row: v (O,) from z (d,) with a one behind it, written to its second
        argument; of several weights (runs, n_weights) v (runs, O) from z (runs, d).
        """
        numbers = column_numbers(self.terms, self.regressors)
        multiply = np.multiply.reduce  # as `prod` without what it does around it, for single rows
        if weights.ndim > 1:
            coefficients = self.coefficients(weights)
            return lambda z, v: np.matmul(
                multiply(z[..., None, numbers], axis=-1), coefficients, out=v[..., None, :]
            )
        by_output = self.coefficients(weights).T.copy()
        return lambda z, v: by_output.dot(multiply(z.take(numbers), axis=1), v)

    def linearised(self, weights: Array, z: Array, columns: int) -> tuple[Array, Array]:
        """v (O, rows) and dv/dz (O, columns, rows) for the first columns of z (d, rows)."""
        coefficients = self.coefficients(weights)
        factors = _factors(z.T, self.terms)
        slopes = np.zeros((self.outputs, columns, z.shape[1]))
        for place, numbers in enumerate(column_numbers(self.terms, len(z)).T):
            others = np.delete(factors, place, axis=0).prod(axis=0)
            # which column each term is a factor of here
            is_column = np.arange(columns)[:, None] == numbers
            slopes += (is_column * coefficients.T[:, None]) @ others
        return (factors.prod(axis=0).T @ coefficients).T, slopes

    def jacobian(self, weights: Array, z: Array) -> Array:
        """dv/dw at fixed z, transposed: (n_weights, rows, O)."""
        products = multiply_columns(z, self.terms)
        jacobian = np.einsum("rt,oq->torq", products, np.eye(self.outputs))
        return jacobian.reshape(self.n_weights, len(z), self.outputs)


def multiply_columns(z: Array, terms: tuple[Term, ...]) -> Array:
    """(rows, terms): the product of the columns of z (rows, d) that each term names."""
    return _factors(z, terms).prod(axis=0).T


def _factors(z: Array, terms: tuple[Term, ...]) -> Array:
    """(degree, terms, rows): the columns of z (rows, d) that each term multiplies, then ones."""
    longer = np.vstack([z.T, np.ones(len(z), dtype=z.dtype)])
    return longer[column_numbers(terms, z.shape[1]).T]


@lru_cache
def column_numbers(terms: tuple[Term, ...], columns: int) -> npt.NDArray[np.intp]:
    """(terms, degree): the columns of each term, then `columns`, where a one stands."""
    degree = max(1, *map(len, terms))
    return np.array([(*term, *(columns,) * (degree - len(term))) for term in terms])


def select_terms(
    z: Array, y: Array, *, degree: int, max_terms: int
) -> tuple[tuple[Term, ...], Array]:
    """Of the products of z (rows, d) up to the degree, at most `max_terms` that explain y (rows,
    O), in the order they were chosen, and C (terms, O), flat, of their least-squares fit.

    Several outputs share their terms: the ratio is that of all sums of squares together. The degree
    is lowered until there are `MAX_PRODUCTS` or fewer. `ModelError` where no term explains y, as in
    fewer than four rows.
    """
    candidates = _list_products(z.shape[1], degree)
    products = multiply_columns(z, candidates)
    parts = products.copy()  # of each product what is orthogonal to those chosen
    left = y.copy()  # of y what they do not explain
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
    """(terms,): the share of y's (rows, O) sum of squares that each explains beside those before
    it.
    """
    directions, _ = np.linalg.qr(multiply_columns(z, terms))
    return np.sum((directions.T @ y) ** 2, axis=1) / np.sum(y**2)


def _list_products(columns: int, degree: int) -> tuple[Term, ...]:
    """All products of up to `degree` columns, fewer where that is too many; the constant first."""
    products: list[Term] = [()]
    for power in range(1, degree + 1):
        longer = list(combinations_with_replacement(range(columns), power))
        if power > 1 and len(products) + len(longer) > MAX_PRODUCTS:
            break
        products += longer
    return tuple(products)
