"""Combinations: who is in, with which weight, from validation alone; and the rows that they
leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast.backtest import combinations
from forecast.backtest.combinations import (
    MAX_MEMBERS,
    MemberErrors,
    learn_weights,
    solve_on_simplex,
    stack,
    write_combination,
)
from forecast.config.models import Combination, Models
from forecast.data.records import Digests, RunRecord
from forecast.system import files
from forecast.system.errors import InputError, ModelError
from tests.support.records import run_record

BLOCKS = {"validation": 100, "calibration": 20, "test": 30}


def part(errors: np.ndarray, names: tuple[str, ...], kinds: tuple[str, ...] = ()) -> MemberErrors:
    given = dict(zip(names, kinds or ("network",) * len(names), strict=True))
    models = {name: name for name in names}
    return MemberErrors(names, models, given, *hours(range(len(errors)), 1), errors)


def hours(cutoffs: Sequence[int], horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Cutoffs, and where their horizons end, by the hour."""
    moments = np.array(cutoffs).astype("datetime64[h]").astype("datetime64[ns]")
    return moments, moments + np.timedelta64(horizon, "h")


def noise(*scales: float, rows: int = 400, shared: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, len(scales))) * np.array(scales) + shared * rng.normal(
        size=(rows, 1)
    )


def test_without_a_penalty_independent_errors_are_weighted_by_their_precision():
    weights = solve_on_simplex(np.diag([1.0, 4.0]), 0.0)
    assert weights == pytest.approx([0.8, 0.2], abs=1e-6)


def test_a_member_that_only_adds_error_gets_no_weight_and_none_is_negative():
    # the second is the first and more: 1.25 and -0.25 without the bound
    square = np.array([[1.0, 2.0], [2.0, 5.0]])
    assert solve_on_simplex(square, 0.0) == pytest.approx([1.0, 0.0], abs=1e-6)


def test_the_penalty_draws_the_weights_to_equal_ones():
    square = np.diag([1.0, 4.0])
    spread = [np.ptp(solve_on_simplex(square, penalty)) for penalty in (0.0, 1.0, 10.0, 1e9)]
    assert spread == sorted(spread, reverse=True) and spread[-1] == pytest.approx(0, abs=1e-6)


def test_stacking_finds_the_one_that_knows_and_leaves_equal_ones_alike():
    assert stack(part(noise(0.1, 2.0, 2.0), ("a", "b", "c")))[0] > 0.9
    assert stack(part(noise(1.0, 1.0, 1.0), ("a", "b", "c"))) == pytest.approx(
        np.full(3, 1 / 3), abs=0.05
    )


def test_a_few_hard_hours_do_not_outvote_the_many():
    errors = np.tile([0.0, 1.0], (400, 1))
    # 0.9 (1 - w) + 0.5 w is least at w = 1, 0.9 (1 - w)^2 + 2.5 w^2 at w = 0.9 / 3.4
    errors[::10] = [5.0, 0.0]
    assert solve_on_simplex(errors.T @ errors / 400, 0.0)[0] == pytest.approx(0.9 / 3.4, abs=1e-6)
    assert stack(part(errors, ("most", "few")))[0] > 0.8
    assert list(stack(part(0 * errors, ("a", "b")))) == [0.5, 0.5]


def test_evidence_that_chance_explains_costs_less_than_without_the_penalty():
    learnt, free = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        errors = rng.normal(size=(100, 4)) * [1.0, 1.02, 1.04, 1.06] + 2 * rng.normal(size=(100, 1))
        part_of_errors = part(errors, ("a", "b", "c", "d"))
        for learnt_weights, weights in (
            (learnt, stack(part_of_errors)),
            (free, solve_on_simplex(part_of_errors.errors.T @ part_of_errors.errors / 100, 0.0)),
        ):
            learnt_weights.append(4 + float(weights**2 @ np.array([1.0, 1.02, 1.04, 1.06]) ** 2))
    equal = 4 + np.mean(np.array([1.0, 1.02, 1.04, 1.06]) ** 2) / 4
    assert np.mean(learnt) < 1.02 * equal < np.mean(free)


def test_a_validation_too_short_to_be_tried_on_gives_equal_weights():
    times = hours(range(0, 6, 2), 6)
    whole = MemberErrors(("a", "b"), {}, {}, *times, noise(0.1, 2.0, rows=3))
    assert sum(other.any() for other, _ in whole.split_folds()) < 2 and list(stack(whole)) == [
        0.5,
        0.5,
    ]


def test_the_groups_name_networks_and_everybody():
    errors = part(
        noise(1.0, 1.01, 9.0, shared=1.0), ("net", "line", "bad"), ("network", "linear", "network")
    )
    assert learn_weights(Combination(members=("networks",)), errors) == {"net": 0.5, "bad": 0.5}
    assert set(learn_weights(Combination(members=("all",)), errors)) == {"net", "line", "bad"}
    assert learn_weights(Combination(members=("networks", "line")), errors) == {
        "net": 0.25,
        "line": 0.5,
        "bad": 0.25,
    }


@pytest.mark.parametrize("weights", ["equal", "stacked"])
def test_networks_beside_others_count_as_one_however_many_and_whichever_validation_flatters(
    weights,
):
    kinds = ("network",) * 5 + ("linear", "linear")
    errors = noise(*np.full(7, 0.1), rows=400)
    # they err alike, and the first has the lowest error there
    errors[:, :5] += noise(1.0, rows=400)
    errors[:, 0] *= 0.8
    errors[:, 5:] += np.random.default_rng(2).normal(size=(400, 2))
    weights_of_members = learn_weights(
        Combination(members=("networks", "line", "other"), weights=weights),
        part(errors, ("a", "b", "c", "d", "e", "line", "other"), kinds),
    )
    networks = [weights_of_members[name] for name in "abcde"]
    assert networks == pytest.approx([networks[0]] * 5) and sum(networks) < 0.5
    assert sum(weights_of_members.values()) == pytest.approx(1.0)


def test_networks_named_one_by_one_or_alone_have_weights_of_their_own():
    errors = part(noise(0.1, 2.0, 2.0), ("net", "bad", "line"), ("network", "network", "linear"))
    for members in (("networks",), ("all",), ("net", "bad", "line")):
        weights_of_members = learn_weights(Combination(members=members, weights="stacked"), errors)
        assert weights_of_members["net"] > 0.9 > 2 * weights_of_members.get("bad", 0.0)


@pytest.mark.parametrize("weights", ["equal", "stacked"])
def test_two_that_tuning_made_one_model_count_as_one_member(weights):
    errors = noise(1.0, 1.0, 1.0)
    errors[:, 2] = errors[:, 1]
    names = ("ridge", "boosting", "boosting_last")
    rule = Combination(members=names, weights=weights)
    learnt = learn_weights(rule, part(errors, names, ("linear", "tree", "tree")))
    assert learnt == learn_weights(rule, part(errors[:, :2], names[:2], ("linear", "tree")))
    assert set(learnt) == {"ridge", "boosting"}


@pytest.mark.parametrize("weights", ["equal", "stacked", {"line": 1, "bad": 3}])
def test_steady_members_share_a_third_of_the_weight_however_validation_sees_them(weights):
    errors = part(noise(0.1, 2.0, 5.0, 5.0), ("line", "bad", "ets", "theta"), ("linear",) * 4)
    rule = Combination(members=("line", "bad"), weights=weights)
    learnt = learn_weights(rule, errors)
    steady = rule.model_copy(update={"steady": ("ets", "theta", "gone")})
    assert learn_weights(steady, errors) == {
        **{name: pytest.approx(2 / 3 * weight) for name, weight in learnt.items()},
        "ets": pytest.approx(1 / 6),
        "theta": pytest.approx(1 / 6),
    }
    both = rule.model_copy(update={"steady": ("line",)})
    assert learn_weights(both, errors)["line"] == pytest.approx((1 + 2 * learnt["line"]) / 3)
    assert learn_weights(rule.model_copy(update={"steady": ("gone",)}), errors) == learnt


def test_a_rule_without_a_model_has_it_nowhere():
    rule = Combination(members=("networks", "line"), steady=("ets", "theta"))
    assert rule.without_members(["line", "ets"]) == Combination(
        members=("networks",), steady=("theta",)
    )


def test_where_nobody_errs_the_members_count_alike():
    times = pd.date_range("2024-01-01", periods=50, freq="h")
    ds = times + pd.Timedelta("1h")
    rows = pd.DataFrame({"unique_id": "flat", "output": "y", "cutoff": times, "ds": ds, "y": 3.0})
    values = {name: rows["y"].to_numpy() for name in "ab"}
    records = {name: run_record(name, kind="network") for name in "ab"}
    errors = MemberErrors.from_forecasts(rows, values, records)
    assert learn_weights(Combination(members=("all",), weights="stacked"), errors) == {
        "a": 0.5,
        "b": 0.5,
    }


def test_of_more_than_a_forecast_has_time_for_the_best_on_validation_are_members():
    names = tuple(f"net_{i:02d}" for i in range(MAX_MEMBERS + 2))
    scales = [9.0, *np.ones(MAX_MEMBERS), 9.0]
    weights_of_members = learn_weights(
        Combination(members=("networks",)), part(noise(*scales), names)
    )
    assert list(weights_of_members) == list(names[1:-1])


def test_rows_that_are_no_networks_keep_their_seats_up_to_two_thirds_of_them():
    names = tuple(f"{kind}_{i:02d}" for kind in ("line", "net") for i in range(MAX_MEMBERS))
    kinds = ("linear",) * MAX_MEMBERS + ("network",) * MAX_MEMBERS
    errors = part(
        noise(*np.geomspace(5, 50, MAX_MEMBERS), *np.linspace(1, 2, MAX_MEMBERS)), names, kinds
    )
    most = 2 * MAX_MEMBERS // 3
    assert list(learn_weights(Combination(members=("all",)), errors)) == [
        *names[:most],
        *names[MAX_MEMBERS : 2 * MAX_MEMBERS - most],
    ]
    weights_of_members = learn_weights(
        Combination(members=("networks", "line_00", "line_11")), errors
    )
    assert list(weights_of_members) == ["line_00", "line_11", *names[MAX_MEMBERS:-2]]


def test_a_member_that_does_not_suit_the_data_is_not_asked_for():
    rule = Combination(members=("networks", "line", "seasonal"), weights="stacked")
    assert rule.without_members(["seasonal"]) == Combination(
        members=("networks", "line"), weights="stacked"
    )


def test_weights_for_a_member_that_is_gone_are_refused_by_its_name():
    errors = part(noise(1.0, 1.0), ("net", "line"))
    assert learn_weights(Combination(weights={"net": 3, "line": 1}), errors) == {
        "net": 0.75,
        "line": 0.25,
    }
    with pytest.raises(ModelError, match="'gone'"):
        learn_weights(Combination(weights={"net": 1, "gone": 1}), errors)


def test_stretches_of_time_share_no_target():
    whole = MemberErrors(("a",), {}, {}, *hours(range(0, 100, 2), 6), noise(1.0, rows=50))
    for other, fold in whole.split_folds():
        near = np.abs(np.flatnonzero(other)[:, None] - np.flatnonzero(fold)[None, :]).min()
        # origins 2 steps apart, 6 steps ahead: the targets of the third next begin behind its own
        assert near == 3
    assert sum(fold.sum() for _, fold in whole.split_folds()) == 50


def test_stretches_share_no_target_where_the_cutoffs_of_series_lie_between_those_of_others():
    cutoffs = sorted([*range(0, 100, 6), *range(1, 100, 6), *range(3, 100, 6)])
    times = hours(cutoffs, 12)
    whole = MemberErrors(("a",), {}, {}, *times, noise(1.0, rows=len(cutoffs)))
    for other, fold in whole.split_folds():
        distance = np.abs(times[0][other][:, None] - times[0][fold][None, :])
        assert distance.min() == np.timedelta64(12, "h")


def test_an_unknown_member_of_a_configured_combination_is_named_with_the_nearest():
    content = {
        "grid": "g",
        "grids": {"g": ["naive", "mix"]},
        "models": {"naive": {"family": "naive"}},
    }
    mix = {"family": "combination", "members": ["nave"]}
    models = Models.model_validate({**content, "models": {**content["models"], "mix": mix}})
    assert list(models.entries_to_fit()) == ["naive"]
    with pytest.raises(InputError, match=r"models.mix: unknown member 'nave'.*naive"):
        models.combinations()


@pytest.mark.parametrize(
    ("mix", "sentence"),
    [
        (
            {"members": ["other", "naive"]},
            "unknown member 'other'.*Known: 'all', 'naive', 'networks'",
        ),
        ({"members": ["said"]}, "unknown member 'said'"),
        ({"members": ["nave", "naive", "arks"]}, "unknown member 'nave'. Did you mean 'naive'"),
        (
            {"weights": {"networks": 1, "naive": 1}},
            "unknown member 'networks'.*Known: 'naive'",
        ),
        ({"weights": {"naive": 1}, "members": "all"}, "`weights` name the members already"),
        ({"members": ["naive"], "steady": ["nave"]}, "unknown member 'nave'"),
        ({"weights": {"naive": float("inf")}}, "finite number"),
    ],
)
def test_what_no_combination_can_have_is_refused_before_a_run(mix, sentence):
    entries = {
        "naive": {"family": "naive"},
        "said": {"family": "service"},
        "other": {"family": "combination"},
    }
    models = {**entries, "mix": {"family": "combination"} | mix}
    content = {"grid": "g", "grids": {"g": ["naive", "mix"]}, "models": models}
    with pytest.raises(InputError, match=f"models.mix.*{sentence}"):
        Models.model_validate(content).combinations()


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """Two networks of two seeds, one of them wrong by +1 and the other by -2 at every step; a line;
    a failed one.
    """
    for name, wrong in {
        "up.linear": 1.0,
        "down.linear": -2.0,
        "line": 3.0,
        "ill.linear": 0.0,
    }.items():
        folder = tmp_path / name
        seeds = (0, 1) if "." in name else (0,)
        record = run_record(
            name,
            n_params=3,
            kind="network" if "." in name else "linear",
            params={"units": 1},
            rows_seen=7,
            status="failed" if name == "ill.linear" else "ok",
            digests=Digests(data="d", key=name),
        )
        record.write(folder / "record.json")
        for seed in () if record.has_failed else seeds:
            files.write_json(folder / f"seed-{seed}" / "spec.json", {})
        table = pd.concat(
            [forecasts(seed, wrong + 0.5 * (2 * seed - 1) * ("." in name)) for seed in seeds]
        )
        if not record.has_failed:
            files.write_frame(folder / "forecasts.parquet", table)
    return tmp_path


def forecasts(seed: int, wrong: float, *, test: float = 0.0) -> pd.DataFrame:
    count = sum(BLOCKS.values())
    cutoff = pd.date_range("2024-01-01", periods=count, freq="h")
    y = np.random.default_rng(0).normal(size=count)
    block = np.repeat(list(BLOCKS), list(BLOCKS.values()))
    table = {
        "unique_id": "a",
        "cutoff": cutoff,
        "step": 1,
        "ds": cutoff + pd.Timedelta("1h"),
        "block": block,
        "seed": seed,
        "output": "sales",
        "y": y + test * (block == "test"),
        "y_hat": y + wrong,
        "volatility": 1.0,
    }
    return pd.DataFrame(table)


def test_a_combination_averages_seeds_first_then_members_and_keeps_both(trained):
    write_combination("mix", Combination(members=("networks", "line")), trained)
    record = files.read_json(trained / "mix" / "record.json")
    table = pd.read_parquet(trained / "mix" / "forecasts.parquet")
    assert (table["y_hat"] - table["y"]).to_numpy() == pytest.approx(
        np.full(len(table), ((1 - 2) / 2 + 3) / 2)
    )
    assert set(table["seed"]) == {0} and len(table) == sum(BLOCKS.values())
    weights = {m["candidate"]: m["weight"] for m in record["members"]}
    assert weights == {"up.linear": 0.25, "down.linear": 0.25, "line": 0.5}
    assert record["members"][0]["params"] == {"units": 1} and record["n_params"] == 9
    kept_files = {
        str(path.parent.relative_to(trained / "mix" / "members"))
        for path in trained.glob("mix/members/*/*/*")
    }
    assert kept_files == {
        "up.linear/seed-0",
        "up.linear/seed-1",
        "down.linear/seed-0",
        "down.linear/seed-1",
        "line/seed-0",
    }
    assert (record["status"], record["ranking"], record["kind"]) == ("ok", "shipped", "combination")


def test_a_failed_member_is_left_out_and_said(trained):
    write_combination("mix", Combination(members=("networks",)), trained)
    record = files.read_json(trained / "mix" / "record.json")
    assert record["status"] == "ok" and record["reason"] == "left out: ill.linear (failed)"
    write_combination("other", Combination(weights={"up": 1, "ill": 1}), trained)
    refused = files.read_json(trained / "other" / "record.json")
    assert (
        refused["status"] == "failed" and "'ill'" in refused["reason"] and refused["members"] == []
    )


def test_who_is_left_out_is_named_by_the_rules_that_name_it_alone(trained):
    content = files.read_json(trained / "down.linear" / "record.json")
    seeds = [{"seed": 0, "status": "ok", "best_step": 0}]
    files.write_json(trained / "down.linear" / "record.json", {**content, "seeds": seeds})
    reasons = {}
    for name, rule in {
        "of_all": Combination(members=("all",)),
        "of_line": Combination(members=("line",)),
        "numbers": Combination(weights={"line": 1}),
    }.items():
        write_combination(name, rule, trained)
        reasons[name] = files.read_json(trained / name / "record.json")["reason"]
    assert reasons == {
        "of_all": "left out: ill.linear (failed); down.linear (did not train)",
        "of_line": "",
        "numbers": "",
    }


def test_a_network_without_a_skip_is_a_member_where_it_has_no_other_row(trained):
    for name in ("up.linear", "line"):
        content = files.read_json(trained / name / "record.json")
        record = {
            "model": "up",
            "candidate": "up.last",
            "skip": "last",
            "ranking": "architecture",
            "kind": "network",
        }
        files.write_json(trained / "up.last" / "record.json", content | record)
        files.write_frame(trained / "up.last" / "forecasts.parquet", forecasts(0, 50.0))
        write_combination(f"mix_{name}", Combination(members=("up", "line")), trained)
        # then only the one without a skip is left
        (trained / "up.linear" / "record.json").unlink(missing_ok=True)
    both, alone = (
        files.read_json(trained / f"mix_{n}" / "record.json")["members"]
        for n in ("up.linear", "line")
    )
    assert {m["candidate"] for m in both} == {"up.linear", "line"}
    assert {m["candidate"] for m in alone} == {"up.last", "line"}


def test_weights_are_learnt_from_validation_rows_and_no_others(trained):
    rule = Combination(members=("all",), weights="stacked")
    write_combination("before", rule, trained)
    for name in ("up.linear", "down.linear", "line"):
        path = trained / name / "forecasts.parquet"
        table = pd.read_parquet(path)
        is_later = table["block"] != "validation"
        table.loc[is_later, "y"] = -5 * table.loc[is_later, "y"]
        files.write_frame(path, table)
    write_combination("after", rule, trained)
    members_before, members_after = (
        files.read_json(trained / name / "record.json")["members"] for name in ("before", "after")
    )
    assert members_before == members_after
    wrong = {"up.linear": 1.0, "down.linear": -2.0, "line": 3.0}
    # where they cancel
    assert sum(m["weight"] * wrong[m["candidate"]] for m in members_before) == pytest.approx(
        0, abs=0.1
    )


def test_weights_learnt_again_follow_the_errors_known_then_and_no_later_ones(trained):
    turn = 20  # origins behind validation, after which the line is right and the network is not
    for name, (before, after) in {"up.linear": (1.0, 6.0), "line": (1.5, 0.0)}.items():
        path = trained / name / "forecasts.parquet"
        table = pd.read_parquet(path)
        is_later = table["cutoff"] >= table["cutoff"].min() + pd.Timedelta(hours=100 + turn)
        files.write_frame(path, table.assign(y_hat=table["y"] + np.where(is_later, after, before)))
    rule = Combination(members=("up", "line"), weights="stacked")
    write_combination("once", rule, trained)
    write_combination("again", rule.model_copy(update={"refit": 5}), trained)
    weights = RunRecord.read(trained / "again" / "record.json").weights
    start = pd.Timestamp("2024-01-01")
    ages = [dated.learnt_until - start for dated in weights]
    assert ages[1:] == [pd.Timedelta(hours=h) for h in range(100, 150, 5)]
    turning_point = pd.Timedelta(hours=100 + turn)
    dated = list(zip(ages, (each.weights for each in weights), strict=True))
    shares = [of_age.get("line", 0) for age, of_age in dated if age > turning_point]
    known = [of_age for age, of_age in dated if age <= turning_point]
    assert all(
        of_age.get("line", 0) == pytest.approx(known[0].get("line", 0), abs=0.02)
        for of_age in known
    )
    assert shares == sorted(shares) and shares[-1] > 0.6 > known[0].get("line", 0)
    last = {
        m["candidate"]: m["weight"]
        for m in files.read_json(trained / "again" / "record.json")["members"]
    }
    test = start + pd.Timedelta(hours=sum(BLOCKS[block] for block in ("validation", "calibration")))
    before = [of_age for age, of_age in dated if start + age <= test]
    # what serves has seen no target of the test block
    assert last == before[-1] != weights[-1].weights
    tables = [
        pd.read_parquet(trained / name / "forecasts.parquet").set_index("cutoff")
        for name in ("once", "again")
    ]
    same = tables[0].index < start + pd.Timedelta(hours=100)
    assert tables[0]["y_hat"][same].equals(tables[1]["y_hat"][same])
    wrong = [(table["y_hat"] - table["y"]).abs().iloc[-5:].mean() for table in tables]
    assert wrong[1] < wrong[0]


def test_a_steady_third_stays_what_it_was_while_the_other_weights_are_learnt_again(trained):
    rule = Combination(members=("networks",), weights="stacked", steady=("line", "ill"), refit=5)
    write_combination("mix", rule, trained)
    record = RunRecord.read(trained / "mix" / "record.json")
    assert len(record.weights) > 2
    assert {dated.weights["line"] for dated in record.weights} == {1 / 3}
    assert all(sum(dated.weights.values()) == pytest.approx(1) for dated in record.weights)
    assert "ill.linear (failed)" in record.seeds[0].reason
    assert (trained / "mix" / "members" / "line" / "seed-0").is_dir()
    table = pd.read_parquet(trained / "mix" / "forecasts.parquet")
    wrong = (table["y_hat"] - table["y"])[table["block"] == "test"]
    # the networks cancel to 0 there, and the line is wrong by 3
    assert wrong.to_numpy() == pytest.approx(1.0, abs=0.15)


def test_weights_that_nothing_learns_cannot_be_learnt_again():
    with pytest.raises(
        ValueError, match="refit: monthly needs weights that are learnt: `weights: stacked`"
    ):
        Combination(weights="equal", refit="monthly")


def test_what_is_forecast_inside_validation_is_not_made_with_its_own_rows(trained, monkeypatch):
    cutoffs_seen = []
    real = combinations.learn_weights

    def learn_and_note(rule, rows, *more):
        cutoffs_seen.append(rows.cutoffs)
        return real(rule, rows, *more)

    monkeypatch.setattr(combinations, "learn_weights", learn_and_note)
    write_combination("mix", Combination(members=("all",), weights="stacked"), trained)
    validation = (
        pd.read_parquet(trained / "mix" / "forecasts.parquet")
        .query("block == 'validation'")["cutoff"]
        .to_numpy()
    )
    assert len(cutoffs_seen) == 1 + combinations.VALIDATION_FOLDS and set(cutoffs_seen[0]) == set(
        validation
    )
    assert not set.intersection(*map(set, cutoffs_seen[1:]))


def test_members_of_other_origins_are_no_combination(trained):
    path = trained / "line" / "forecasts.parquet"
    files.write_frame(path, pd.read_parquet(path).iloc[1:])
    write_combination("mix", Combination(members=("all",)), trained)
    record = files.read_json(trained / "mix" / "record.json")
    assert record["status"] == "failed" and "other origins" in record["reason"]
