"""The classical roles of a recurrent net are configurations: each does what its name says."""

import numpy as np
import pytest

from forecast import models
from forecast.config.models import load_models
from forecast.networks import inference
from tests.contract.families import random_weights
from tests.support import problems
from tests.support.small_project import ROOT

H = problems.HORIZON


def network(name: str, **changes):
    """An entry of configs/models.yaml on the two shops."""
    return spec_of(name).network(problems.task(**changes))


def spec_of(name: str, **options):
    return models.spec({**load_models(ROOT / "configs").models[name], **options}, where=name)


def windows(net, count=4):
    shops = problems.shops()
    return next(
        shops.windows("north", shops.rows("north", "test")[:count], horizon=net.shapes.horizon)
    )


def forecasts(net, weights, given):
    """(B, T, H, O)."""
    return inference.forward(net, weights, given.past, given.future)[..., 0]


@pytest.mark.parametrize("name", ["narx", "nar", "jordan"])
def test_one_to_one_fed_back_maps_one_step_and_may_be_closed(name):
    net = network(name)
    assert spec_of(name).is_recursive and net.shapes.horizon == 1
    given = windows(net)
    assert forecasts(net, random_weights(net), given).shape[2] == 1


def test_one_to_many_gives_every_step_from_one_state_and_feeds_no_output_back():
    """A shift of the read-out shifts every step alike; with feedback it comes back in."""
    for name, alike in (("one_to_many", True), ("encoder_decoder", False)):
        net = network(name)
        given, w = windows(net), random_weights(net)
        moved = {**w, "readout/bias": w["readout/bias"] + 1.0}
        change = (forecasts(net, moved, given) - forecasts(net, w, given))[:, -1]
        assert change.shape[1] == H
        assert np.allclose(change, 1.0, atol=1e-5) == alike


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "bidirectional"])
def test_many_to_one_reads_the_window_and_gives_one_value(name):
    net = network(name, horizon=1)
    shops = problems.problem_of(problems.frame(), horizon=1)
    given = next(shops.windows("north", shops.rows("north", "test")[:4]))
    w = random_weights(net)
    last = inference.forecast_last(net, w, given.past, given.future)
    assert last.shape[1:3] == (1, 2)
    first_row_changed = given.past.copy()
    first_row_changed[:, -4] += 1.0
    assert not np.allclose(inference.forecast_last(net, w, first_row_changed, given.future), last)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "elman", "tdnn"])
def test_many_to_many_synced_gives_at_every_step_what_the_rows_up_to_it_give(name):
    net = network(name)
    given, w = windows(net), random_weights(net)
    every = forecasts(net, w, given)
    for t in (3, 6):
        cut = inference.forecast_last(net, w, given.past[:, : t + 1], given.future[:, : t + 1 + H])[
            ..., 0
        ]
        np.testing.assert_allclose(every[:, t], cut, atol=1e-6)


def test_many_to_many_delayed_reads_the_past_then_writes_each_step_on_the_one_before():
    # the decoder alone sees it
    net = spec_of("encoder_decoder", future_units=0).network(problems.task())
    given, w = windows(net), random_weights(net)
    ahead = given.future.copy()
    ahead[:, -1] += 1.0  # the known future of the last step of the horizon alone
    before, after = (
        inference.forecast_last(net, w, given.past, f)[..., 0] for f in (given.future, ahead)
    )
    np.testing.assert_array_equal(before[:, :-1], after[:, :-1])
    assert not np.allclose(before[:, -1], after[:, -1])
