"""Whether our chosen row is better than each peer, by the package's own test, corrected for their
number.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.results_file import Row
from forecast.comparison.paired_tests import DieboldMariano, diebold_mariano
from forecast.comparison.verdicts import holm

HORIZON, STEP = 24, 6


def p_of_lower_loss(test: DieboldMariano) -> float:
    """The one-sided p: that the first loss is not below the second."""
    return test.p / 2 if test.mean_difference < 0 else 1 - test.p / 2


def with_tests(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Each peer against our chosen row: one-sided p that ours is better, corrected by Holm over the
    peers.
    """
    ran = {name: row for name, row in rows.items() if "losses" in row}
    chosen = next((name for name in ran if name.startswith("ours, chosen")), None)
    peers = [name for name in ran if not name.startswith("ours")]
    if chosen is None or not peers:
        return dict(rows)
    best = ran[chosen]["losses"]
    tests = [
        diebold_mariano(
            best,
            ran[peer]["losses"],
            horizon=HORIZON,
            step_size=STEP,
        )
        for peer in peers
    ]
    corrected = holm([p_of_lower_loss(test) for test in tests])
    return {
        **rows,
        **{name: rows[name] | {"p": p} for name, p in zip(peers, corrected, strict=True)},
    }
