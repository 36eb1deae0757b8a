"""Each head's equation in numbers: what raw parameters of zero mean, and what the constants are."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import special

from forecast import models
from forecast.networks import heads
from forecast.networks.heads import HEADS, FittedHead, Head
from forecast.networks.heads.base import numpy_maths
from forecast.networks.heads.densities import Gaussian, StudentT
from forecast.networks.heads.piecewise import Bins, Quantiles
from forecast.networks.heads.updown import UpDown
from forecast.networks.losses import POINT_LOSSES, PointLoss
from forecast.system.errors import InputError

RNG = np.random.default_rng(1)
RESIDUAL = RNG.normal(size=(4000, 2, 1)) * [[[1.0], [3.0]]]
BASE = np.full((1, 2, 1), 10.0)


def zeros(head):
    return np.zeros((1, 2, 1, head.parameters))


def fitted(head):
    return FittedHead(head, head.fit(RESIDUAL, np.zeros_like(RESIDUAL)))


def test_a_head_is_no_deferred_class_which_pydantic_2_13_could_not_dump_in_an_entry():
    class Late(Head):
        kind: str = "late"

    assert Late.__pydantic_complete__


def test_a_gaussian_of_zeros_has_the_spread_of_the_train_residuals():
    distribution = fitted(Gaussian()).distribution(zeros(Gaussian()), BASE)
    location, scale = distribution.args
    np.testing.assert_allclose(location, BASE)
    np.testing.assert_allclose(scale[0, :, 0], np.sqrt((RESIDUAL[..., 0] ** 2).mean(axis=0)))


def test_a_scale_has_a_floor():
    raw = np.array([[[[0.0, -1e4]], [[0.0, -1e4]]]])
    distribution = fitted(Gaussian()).distribution(raw, BASE)
    np.testing.assert_allclose(
        distribution.std()[0, :, 0], 0.01 * np.sqrt((RESIDUAL[..., 0] ** 2).mean(axis=0))
    )


def test_degrees_of_freedom_stay_above_two_and_end_at_200():
    raw = np.array([[[[0.0, 0.0, -1e4]], [[0.0, 0.0, 1e4]]]])
    distribution = fitted(StudentT()).distribution(raw, BASE)
    np.testing.assert_allclose(distribution.args[0].ravel(), [2.1, 200.0])


def test_a_student_t_of_zeros_has_the_standard_deviation_of_the_train_residuals():
    distribution = fitted(StudentT()).distribution(zeros(StudentT()), BASE)
    np.testing.assert_allclose(
        distribution.std()[0, :, 0], np.sqrt((RESIDUAL[..., 0] ** 2).mean(axis=0))
    )


def test_quantiles_of_zeros_have_the_gaps_of_the_train_residuals_around_the_skip():
    distribution = fitted(Quantiles()).distribution(zeros(Quantiles()), BASE)
    expected = np.quantile(RESIDUAL[:, :, 0], Quantiles().probabilities, axis=0).T
    np.testing.assert_allclose(
        distribution.knots[0, :, 0] - 10, expected - expected[:, 3:4], rtol=1e-6
    )


def test_bins_are_equally_full_on_train_and_zeros_are_their_distribution():
    head = fitted(Bins(count=8))
    number = head.target(RESIDUAL, RESIDUAL)
    assert np.bincount(number[:, 0, 0].astype(int)).tolist() == [500] * 8
    distribution = head.distribution(zeros(head.head), BASE)
    np.testing.assert_allclose(distribution.cumulative[0, 0, 0], np.arange(1, 8) / 8)
    np.testing.assert_allclose(
        distribution.knots[0, 1, 0] - 10, np.quantile(RESIDUAL[:, 1, 0], np.arange(1, 8) / 8)
    )


def test_equal_residuals_give_bins_that_still_lie_apart():
    nothing = np.zeros((50, 1, 1))
    head = FittedHead(Bins(count=8), Bins(count=8).fit(nothing, nothing))
    assert (np.diff(head.constants["edges"]) > 0).all() and (head.constants["low"] > 0).all()


def test_the_skip_speaks_first_in_up_and_down():
    """The class depends on the lead alone, with log-odds 0.5 + 2 lead: the logistic regression
    finds them.
    """
    lead = RNG.normal(size=(20_000, 1, 1))
    rises = RNG.random(lead.shape) < special.expit(0.5 + 2 * lead)
    change = np.where(rises, 1.5, -0.5)
    head = FittedHead(UpDown(), UpDown().fit(change - lead, lead))
    assert head.constants["intercept"].item() == pytest.approx(0.5, abs=0.06)
    assert head.constants["slope"].item() == pytest.approx(2.0, abs=0.08)
    assert (head.constants["rise"].item(), head.constants["fall"].item()) == pytest.approx(
        (1.5, 0.5)
    )
    last, up = np.full((1, 1, 1), 4.0), special.expit(0.5 + 2 * 0.3)
    assert head.point(np.zeros((1, 1, 1, 1)), last + 0.3, last).item() == pytest.approx(
        4 + up * 1.5 - (1 - up) * 0.5, abs=0.02
    )


def test_no_change_is_neither_up_nor_down():
    target = UpDown().target(
        np.array([[[0.1]], [[-0.2]], [[0.05]]]), np.array([[[-0.1]], [[0.1]], [[0.1]]]), {}
    )
    np.testing.assert_array_equal(target.ravel(), [np.nan, 0.0, 1.0])


@pytest.mark.parametrize(
    ("head", "density"),
    [
        (Gaussian(), lambda distribution, y: distribution.logpdf(y)),
        (StudentT(), lambda distribution, y: distribution.logpdf(y)),
    ],
    ids=["gaussian", "student_t"],
)
def test_a_density_is_trained_by_its_negative_log_likelihood(head, density):
    raw, y = RNG.normal(size=(5, 2, 1, head.parameters)), RNG.normal(size=(5, 2, 1))
    distribution = fitted(head).distribution(raw, np.zeros((5, 2, 1)))
    loss = fitted(head).loss(numpy_maths, raw, y, None)
    np.testing.assert_allclose(loss, -density(distribution, y), rtol=1e-9)


def test_quantiles_are_trained_by_twice_the_mean_pinball_loss():
    head = fitted(Quantiles(probabilities=(0.1, 0.5, 0.9)))
    raw, y = RNG.normal(size=(5, 2, 1, 3)), RNG.normal(size=(5, 2, 1))
    distribution = head.distribution(raw, np.zeros((5, 2, 1)))
    errors = y[..., None] - distribution.knots
    each = np.where(
        errors > 0, np.array([0.1, 0.5, 0.9]) * errors, (np.array([0.1, 0.5, 0.9]) - 1) * errors
    )
    np.testing.assert_allclose(head.loss(numpy_maths, raw, y, None), 2 * each.mean(axis=-1))


@pytest.mark.parametrize("head", HEADS)
def test_a_head_says_what_it_is_and_can_be_named_alone(head):
    spec = models.spec({"family": "gru", "head": head}, where="test")
    assert (
        spec.head.kind == head and models.spec(spec.model_dump(mode="json"), where="again") == spec
    )
    for text in (spec.head.summary, spec.head.equation, spec.head.source):
        assert len(text) > 8


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("gausian", r"unknown head 'gausian'\. Did you mean 'gaussian'\? Known: "),
        ({"probabilities": [0.5]}, "unknown head None"),
        ({"kind": "quantiles", "probabilities": [0.1, 0.9, 0.95]}, "0.5 is the point forecast"),
        (
            {"kind": "quantiles", "probabilities": [0.5, 0.4, 0.9]},
            "wanted increasing probabilities between 0 and 1",
        ),
        ({"kind": "bins", "count": 2}, "greater than or equal to 3"),
        ({"kind": "gaussian", "probabilities": [0.5]}, "probabilities"),
    ],
)
def test_a_head_that_makes_no_sense_is_refused(head, message):
    with pytest.raises(InputError, match=message):
        models.spec({"family": "gru", "head": head}, where="configs/models.yaml: models.x")


def test_the_search_space_is_the_family_s_own_whatever_the_head():
    spaces = [models.spec({"family": "gru", "head": head}, where="test").space() for head in HEADS]
    assert all(space == spaces[0] for space in spaces)


def test_a_head_of_a_folder_that_is_added_later_and_a_loss_of_ones_own_are_known(
    tmp_path, monkeypatch
):
    code = """from typing import Literal
from forecast.networks.heads.densities import Gaussian

class Mine(Gaussian):
    kind: Literal["mine"] = "mine"
"""
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.setattr(heads, "__path__", [*heads.__path__, str(tmp_path)])
    monkeypatch.setattr(heads, "HEADS", dict(HEADS))
    entry = {"family": "gru", "head": {"kind": "mine"}}
    spec = models.spec(entry, where="test")
    assert spec.head.kind == "mine" and spec.model_dump()["head"]["kind"] == "mine"
    assert models.spec({**entry, "head": spec.head}, where="test").head == spec.head
    del sys.modules["forecast.networks.heads.mine"]
    row = PointLoss("fourth", lambda xp, error: error**4, lambda xp, error: error**4)
    with pytest.raises(InputError, match="unknown loss 'fourth'"):
        models.spec({"family": "gru", "loss": "fourth"}, where="test")
    monkeypatch.setitem(POINT_LOSSES, "fourth", row)
    assert models.spec({"family": "gru", "loss": "fourth"}, where="test").point_loss is row
