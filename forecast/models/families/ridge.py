"""Family `ridge`: ridge regression on the columns that the networks see, direct for every step.

It is their default skip standing alone as a row of its own, so what a network adds to it can be
seen. Lags, inputs, products and penalty are chosen on validation (`forecast.models.choice`); the
map itself is `forecast.models.skip.Skip` of the kind `linear`.

`Spec` (a `LinearSpec`) has no code of its own; it sets neither `is_recursive` nor
`is_corrected`, so one map for all steps is fitted.
"""

from forecast.models.base import LinearSpec


class Spec(LinearSpec):
    """Options of an entry of this family: the fitted skip is the model."""

    summary = (
        "Ridge on lookback differences, exogenous lags and calendar, and on products of these: the"
        " skip alone."
    )
    equation = (
        "y[t+h] - y[t] = B_h' [z, f[t+1..t+H], f f', f z'] + b_h, z = y[t-k] - y[t], x[t-k]; the"
        " last two if chosen"
    )
    source = "Hoerl & Kennard 1970; NLinear of Zeng et al. 2023 without exogenous inputs"
