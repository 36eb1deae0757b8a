import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.comparison import equivalence, holm, verdict

STEPS = {"horizon": 1, "season": 1}
RNG = np.random.default_rng(8)


def test_holm_on_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_could_not_be_tested():
    adjusted = holm([0.02, float("nan"), 0.5])
    assert adjusted[0] == pytest.approx(0.04) and np.isnan(adjusted[1]) and adjusted[2] == 0.5
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_nor_changes_their_order(p):
    adjusted = holm(p)
    assert all(x >= y for x, y in zip(adjusted, p, strict=True))
    assert all(adjusted[i] <= adjusted[j] for i in range(len(p)) for j in range(len(p)) if p[i] < p[j])


@pytest.mark.parametrize(
    ("difference", "p", "equivalent", "enough", "word"),
    [
        (-1.0, 0.01, False, True, "better"),
        (1.0, 0.01, False, True, "worse"),
        (-1.0, 0.2, False, True, "not distinguishable"),
        (-0.01, 0.2, True, True, "equivalent"),
        (-1.0, 0.2, False, False, "undecided"),
        (-1.0, float("nan"), False, True, "undecided"),
    ],
)
def test_every_word_has_its_condition(difference, p, equivalent, enough, word):
    assert verdict(difference, p, equivalent=equivalent, enough=enough) == word


def test_a_one_sided_family_says_worse_only_with_a_p_of_its_own():
    assert verdict(1.0, 0.99, equivalent=False, enough=True, p_worse=0.3) == "not distinguishable"
    assert verdict(1.0, 0.99, equivalent=False, enough=True, p_worse=0.001) == "worse"


def test_a_narrow_bound_is_evidence_of_equivalence():
    b = RNG.gamma(9, 1, 1000)
    found = equivalence(b + RNG.normal(0, 0.1, 1000), b, **STEPS)
    assert found.word == "equivalent" and found.relative_difference < found.upper < 0.02


def test_a_wide_bound_leaves_it_undecided():
    assert equivalence(RNG.gamma(1, 1, 60), RNG.gamma(1, 1, 60), **STEPS).word == "undecided"


def test_equivalence_needs_thirty_origins_that_do_not_overlap():
    b = np.full(100, 2.0)
    found = equivalence(b, b, horizon=24, season=24)
    assert found.word == "undecided" and "5 non-overlapping origins; 30 are needed" in found.note
    assert equivalence(b[:30], b[:30], **STEPS).word == "equivalent"
    assert equivalence(b[:29], b[:29], **STEPS).word == "undecided"


def test_the_bound_is_one_sided_and_holds_its_level():
    # a costs exactly 2 % more: "equivalent" must be said in at most about 5 % of the samples
    said = []
    for _ in range(600):
        b = RNG.gamma(9, 1, 200)
        said.append(equivalence(1.02 * b + RNG.normal(0, 1, 200), b, **STEPS).word == "equivalent")
    assert 0.02 < np.mean(said) < 0.08


def test_a_reference_without_error_allows_no_relative_statement():
    assert equivalence(np.ones(50), np.zeros(50), **STEPS).word == "undecided"
