"""What the rows of the bilinear record allow: its true terms fitted to the free run.

    python -m bench.bilinear_bound [--identify]

The error of a simulation of another input, in times of the noise, of ten realisations of inputs and
noise for every number of rows, and of ten of the noise alone on the inputs of the record that
`identification_stages` has. A constant beside the true terms is what data without their means ask
for, as `identify` sees them; `--identify`: what that leaves on the ten of 300 rows.
"""

from __future__ import annotations

import argparse

import numpy as np

from bench.identification_systems import TEST_ROWS, TWENTY, bilinear, simulate_records
from forecast.identification import Experiment, identify, random_steps
from forecast.identification.narx import Narx
from forecast.identification.problems import ClosedLoop
from forecast.training import levenberg_marquardt as lm

TRUE_TERMS = ((0,), (1,), (0, 1))  # y[t-1], u[t-1] and their product
TRUE_WEIGHTS = np.array([0.6, 0.5, 0.4])
WITH_CONSTANT = (*TRUE_TERMS, ())


def draw(rows: int, number: int) -> tuple[Experiment, Experiment, float]:
    """To identify, to simulate without noise, and the deviation of the noise."""
    system = TWENTY["bilinear"]
    u, v = (
        random_steps(n, system.low, system.high, hold=system.hold, seed=seed)
        for n, seed in ((rows, 70_000 + number), (TEST_ROWS, 80_000 + number))
    )
    y = bilinear(u)
    size = system.noise * float(y.std())
    noise = np.random.default_rng([35, rows, number]).normal(size=rows)
    return Experiment(u, y + size * noise), Experiment(v, bilinear(v)), size


def fit_true_terms(
    record: Experiment,
    test: Experiment,
    size: float,
    terms: tuple[tuple[int, ...], ...] = TRUE_TERMS,
) -> float:
    """The error of the terms, their coefficients fitted to the free run of the record."""
    net = Narx(1, 1, (1,), (1,), hidden=0, terms=terms)
    start = np.zeros(len(terms))
    start[: len(TRUE_WEIGHTS)] = TRUE_WEIGHTS
    fitted = lm.minimise(ClosedLoop(net, [record], 5), start)
    run = net.free_run(fitted.weights, test.u, test.y[:5])
    return float(np.sqrt(np.mean((run - test.y)[10:] ** 2))) / size


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--identify", action="store_true")
    arguments = parser.parse_args()
    record, test, size = simulate_records("bilinear")
    clean = bilinear(record.u[:, 0])[:, None]
    print(f"the record, 300 rows: {fit_true_terms(record, test, size):.3f}")
    rng = np.random.default_rng(35)
    other_noise = [
        Experiment(record.u, clean + size * rng.normal(size=clean.shape)) for _ in range(10)
    ]
    describe("its inputs, ten of its noise", [fit_true_terms(e, test, size) for e in other_noise])
    with_constant = [fit_true_terms(e, test, size, WITH_CONSTANT) for e in [record, *other_noise]]
    print(f"the record, with a constant: {with_constant[0]:.3f}")
    describe("its inputs, with a constant", with_constant[1:])
    for rows in (300, 450, 600, 800, 1_000, 1_500, 2_000):
        errors = [fit_true_terms(*draw(rows, number)) for number in range(10)]
        describe(f"{rows} rows, ten of both", errors)
    if arguments.identify:
        errors_of_search = []
        for number in range(10):
            record, test, size = draw(300, number)
            model = identify(record)
            run = model.simulate(test.u, test.y[: model.start]).y
            rows = slice(max(model.start, 10), None)
            errors_of_search.append(float(np.sqrt(np.mean((run - test.y)[rows] ** 2))) / size)
        describe("300 rows, `identify`", errors_of_search)


def describe(what: str, errors: list[float]) -> None:
    listed = " ".join(f"{error:.3f}" for error in sorted(errors))
    within = sum(error <= 0.1 for error in errors)
    print(f"{what}: median {np.median(errors):.3f}, {within} of 10 at most 0.1  [{listed}]")


if __name__ == "__main__":
    main()
