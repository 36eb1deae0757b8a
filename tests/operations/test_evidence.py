"""Fresh origins, their losses, the ledger that counts each once, drift and what is due."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from forecast.config.datasets import Dataset, FractionSplits, load_dataset
from forecast.config.operation import Retraining, load_retraining
from forecast.config.paths import ProjectPaths
from forecast.config.reading import validate_config
from forecast.data.calendars import grid, known_from
from forecast.data.panel import from_frame
from forecast.data.results import Results
from forecast.data.splits import resolve_borders
from forecast.forecaster import Forecaster
from forecast.forecaster.ensemble import Ensemble, load_trained_ensemble
from forecast.operations import evidence, live_accuracy, registry
from forecast.operations.challenger import RetrainingJob
from forecast.operations.champion import Champion
from forecast.operations.evidence import judge_due
from forecast.operations.records import Decision
from forecast.operations.registry import make_card
from forecast.operations.retrain import _count_new_steps, _describe_no_drift, _measure_drift
from forecast.system.errors import DataError, InputError
from tests.operations import projects
from tests.operations.projects import NAME, NOW
from tests.support import small_project

RULES = Retraining.model_validate({})


def wave(**changes: object) -> Dataset:
    return validate_config(Dataset, {**small_project.DATASET, **changes}, where="wave")


def days(n: int) -> pd.Series:
    return pd.Series(pd.date_range("2024-01-01", periods=n, freq="D"))


def test_the_newest_origins_are_the_gates_and_earlier_blocks_keep_their_length() -> None:
    splits = {
        "train_end": "2024-02-29",
        "validation_end": "2024-03-10",
        "calibration_end": "2024-03-15",
        "test_end": "2024-04-30",
    }
    # the last day is 2024-07-18
    gate = evidence.gate_splits(days(200), NAME, wave(splits=splits), fresh_steps=28)
    assert gate == {
        "train_end": "2024-06-04",
        "validation_end": "2024-06-14",
        "calibration_end": "2024-06-19",
        "test_end": "2024-07-18",
    }
    assert (pd.Timestamp("2024-07-18") - pd.Timestamp("2024-06-20")).days + 1 == 28 + 2 - 1


def test_too_short_a_history_says_what_to_change() -> None:
    with pytest.raises(DataError, match="fresh_steps"):
        evidence.gate_splits(days(45), NAME, wave(), fresh_steps=28)


def test_promotion_says_at_once_that_the_gate_would_refuse(project: Path) -> None:
    command = ("promote", NAME, "--scored")
    assert "would be refused" not in small_project.command(project, *command).stderr
    rules = {"defaults": {"fresh_steps": 150}}
    small_project.write_yaml(project / "configs" / "retraining.yaml", rules)
    result = small_project.command(project, *command)
    with pytest.raises(DataError) as refusal:
        evidence.gate_splits(days(small_project.DAYS), NAME, wave(), fresh_steps=150)
    assert f"`forecast retrain {NAME}` would be refused: {refusal.value}" in result.stderr
    assert "is the champion" in result.stdout


def test_blocks_of_rows_without_dates_are_shares_that_keep_to_the_row() -> None:
    settings = wave(calendar={"kind": "index"})
    rows = pd.Series(pd.to_datetime(60 * np.arange(500), unit="s"))
    fresh = RULES.count_fresh_steps(settings)
    assert (
        fresh == 60
        and RULES.count_fresh_steps(wave(calendar={"kind": "index"}, step_size=10)) == 80
    )
    gate = evidence.gate_splits(rows, NAME, settings, fresh_steps=fresh)
    frame = pd.DataFrame({"unique_id": "wave", "ds": rows, "y": np.arange(500.0)})
    borders = resolve_borders(
        from_frame(frame, NAME, settings.task), validate_config(FractionSplits, gate, where="wave")
    )
    ends = [int(end.timestamp()) // 60 for end in borders.ends.values()]
    # 20 and 10 % of what there is, then 60 origins and the rest of the last one
    assert ends == [288, 388, 438, 499]
    with pytest.raises(DataError, match="fresh_steps"):
        evidence.gate_splits(rows.head(80), NAME, settings, fresh_steps=fresh)


def test_rows_without_dates_age_by_the_clock(repro: Path) -> None:
    meta = registry.make_card(Results(ProjectPaths.of(repro), NAME), "ridge", now=NOW, revision="")
    meta = meta.model_copy(update={"as_of": "1970-01-01T03:20:00"})
    old = judge_due(
        meta,
        [],
        wave(calendar={"kind": "index"}),
        RULES,
        as_of=pd.Timestamp(meta.as_of),
        now=NOW + pd.Timedelta(31, "D"),
        new_steps=1,
    )
    assert old.age_days == 31 and old.reasons == ("stale (31 days old, 30 allowed)",)


@pytest.fixture
def case(repro: Path) -> evidence.GateData:
    return evidence.GateData.read(repro, NAME)


def test_an_origin_is_fresh_only_when_every_target_lies_after_the_last_one_used(
    case: evidence.GateData,
) -> None:
    """The horizon is 2, the test block begins on 2024-06-09 and the last of 200 days is
    2024-07-18.
    """
    whole = case.panel.by_id["wave"].ds[case.fresh_rows([])["wave"]]
    assert (str(whole[0])[:10], str(whole[-1])[:10]) == ("2024-06-08", "2024-07-16")
    newest_used = [pd.Timestamp("2024-06-20"), pd.Timestamp("2024-06-10")]
    assert (
        str(case.panel.by_id["wave"].ds[case.fresh_rows(newest_used)["wave"]][0])[:10]
        == "2024-06-20"
    )


def test_losses_are_those_of_the_leaderboard_on_the_same_origins(
    repro: Path, case: evidence.GateData
) -> None:
    board = pd.read_csv(repro / "data" / "compared" / NAME / "leaderboard.csv").set_index("model")
    trained = repro / "data" / "trained" / NAME
    losses = evidence.fresh_losses(
        case, load_trained_ensemble(trained / "ridge"), load_trained_ensemble(trained / "arx"), []
    )
    assert losses["challenger"].mean() == pytest.approx(board.loc["ridge", "mase"].max(), rel=1e-6)
    assert losses["champion"].mean() == pytest.approx(board.loc["arx", "mase"].max(), rel=1e-6)
    assert losses["naive"].mean() == pytest.approx(board.loc["naive", "mase"].max(), rel=1e-6)


def losses(first: int, n: int, champion: float = 1.0) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=100, freq="D")[first : first + n]
    return pd.DataFrame({"champion": champion, "challenger": 0.5, "naive": 2.0}, index=index)


def test_the_ledger_counts_each_origin_once(tmp_path: Path) -> None:
    ledger = evidence.Ledger.read(tmp_path / "ledger.json")
    ledger.add(losses(0, 30), version=1, config_hash="a", at=NOW)
    ledger.add(losses(1, 30), version=1, config_hash="a", at=NOW + pd.Timedelta(1, "D"))
    ledger.write(tmp_path / "ledger.json")
    read_again = evidence.Ledger.read(tmp_path / "ledger.json")
    read_again.add(losses(1, 30), version=1, config_hash="a", at=NOW + pd.Timedelta(2, "D"))
    gathered = read_again.evidence(version=1, config_hash="a")
    assert gathered is not None and (
        len(gathered.champion),
        gathered.n_first,
        gathered.pair_number,
    ) == (
        31,
        30,
        1,
    )


def test_a_further_champion_or_recipe_begins_anew_with_a_smaller_share_of_alpha(
    tmp_path: Path,
) -> None:
    ledger = evidence.Ledger.read(tmp_path / "ledger.json")
    for number, (version, config_hash) in enumerate([(1, "a"), (1, "b"), (2, "b")]):
        ledger.add(
            losses(0, 10),
            version=version,
            config_hash=config_hash,
            at=NOW + pd.Timedelta(number, "D"),
        )
    ledger.add(losses(0, 10, champion=0.5), version=9, config_hash="same function", at=NOW)
    ledger.add(losses(0, 10), version=3, config_hash="b", at=NOW + pd.Timedelta(2 * 365, "D"))
    evidences = [
        ledger.evidence(version=v, config_hash=r)
        for v, r in [(1, "a"), (1, "b"), (2, "b"), (3, "b")]
    ]
    assert [e.pair_number for e in evidences if e is not None] == [1, 2, 3, 1]
    assert all(e is not None and len(e.champion) == 10 for e in evidences)


def test_a_loss_that_is_not_finite_is_no_evidence(tmp_path: Path) -> None:
    ledger = evidence.Ledger.read(tmp_path / "ledger.json")
    ledger.add(losses(0, 10, champion=np.nan), version=1, config_hash="a", at=NOW)
    assert ledger.evidence(version=1, config_hash="a") is None


def test_psi_of_a_known_shift() -> None:
    """Half of the values move from the lower to the upper half: (0.75 - 0.5) ln(0.75 / 0.25) in the
    two bins that have values.
    """
    old = np.repeat([0.0, 1.0], 50)
    new = np.repeat([0.0, 1.0], [25, 75])
    assert evidence.psi(old, new) == pytest.approx(0.25 * np.log(0.75 / 0.25), rel=0.05)
    assert evidence.psi(old, old) == 0


def test_drift_is_seen_where_the_changes_change_and_not_where_only_the_season_does(
    repro: Path,
) -> None:
    settings = load_dataset(NAME, repro / "configs")
    meta = make_card(Results(ProjectPaths.of(repro), NAME), "ridge", now=NOW, revision="")
    frame = projects.prepared(repro)
    calm = evidence.measure_shifts(
        from_frame(frame, NAME, settings.task), meta, RULES, fresh_steps=60
    )
    assert [(shift.drifted, shift.ks_p) for shift in calm] == [(False, None)]
    wild = frame.assign(y=frame["y"].where(frame["ds"] < "2024-05-20", 5 * frame["y"]))
    panel = from_frame(wild, NAME, settings.task)
    assert [
        shift.drifted for shift in evidence.measure_shifts(panel, meta, RULES, fresh_steps=60)
    ] == [True]
    champion = load_trained_ensemble(repro / "data" / "trained" / NAME / "ridge")
    honest = evidence.measure_live_error(
        champion, meta, from_frame(frame, NAME, settings.task), RULES, fresh_steps=28
    )
    assert (
        honest is not None
        and honest.live_error == pytest.approx(1.0, abs=0.2)
        and not honest.drifted
    )
    higher = evidence.measure_live_error(champion, meta, panel, RULES, fresh_steps=28)
    # levels beyond those of the fit are read as its own: the error grows as that of the last value
    assert higher is not None and not higher.drifted
    wider = frame.assign(y=frame["y"].where(frame["ds"] < "2024-05-20", 1.6 * frame["y"]))
    panel = from_frame(wider, NAME, settings.task)
    louder = evidence.measure_live_error(champion, meta, panel, RULES, fresh_steps=28)
    assert louder is not None and not louder.drifted  # repeating the last value errs as much more
    is_new = (frame["ds"] >= "2024-05-20").to_numpy()
    y = frame["y"].to_numpy().copy()
    y[is_new] = np.random.default_rng(0).permutation(y[is_new])
    panel = from_frame(frame.assign(y=y), NAME, settings.task)
    live_error = evidence.measure_live_error(champion, meta, panel, RULES, fresh_steps=28)
    assert live_error is not None and live_error.drifted


def test_a_champion_of_another_horizon_or_other_columns_cannot_be_judged(repro: Path) -> None:
    champion = load_trained_ensemble(repro / "data" / "trained" / NAME / "ridge")
    assert isinstance(champion, Ensemble) and isinstance(champion.forecasters[0], Forecaster)
    settings = load_dataset(NAME, repro / "configs")
    assert evidence.has_same_task(champion, settings.task)
    assert not evidence.has_same_task(champion, settings.task.model_copy(update={"horizon": 3}))


@pytest.mark.parametrize(("horizon", "words"), [(2, "no drift"), (3, "its errors cannot be com")])
def test_of_a_champion_of_another_horizon_it_is_not_said_that_nothing_drifted(
    repro: Path, horizon: int, words: str
) -> None:
    ensemble = load_trained_ensemble(repro / "data" / "trained" / NAME / "ridge")
    card = make_card(Results(ProjectPaths.of(repro), NAME), "ridge", now=NOW, revision="")
    settings = wave(horizon=horizon)
    panel = from_frame(projects.prepared(repro), NAME, settings.task)
    shifts = _measure_drift(Champion(1, ensemble, card), panel, settings, RULES)
    assert _describe_no_drift(shifts).startswith(words)


def test_what_makes_a_challenger_due(repro: Path) -> None:
    meta = make_card(Results(ProjectPaths.of(repro), NAME), "ridge", now=NOW, revision="")
    settings = load_dataset(NAME, repro / "configs")
    drifted = evidence.Shift(what="wave: y", drifted=True)

    def ask_whether_due(
        days_later: float, new_steps: int, *shifts: evidence.Shift
    ) -> tuple[tuple[str, ...], str]:
        moment = pd.Timestamp(meta.as_of) + pd.Timedelta(days_later, "D")
        due = judge_due(meta, shifts, settings, RULES, as_of=moment, now=NOW, new_steps=new_steps)
        return due.reasons, due.ageing_reason

    assert ask_whether_due(1, 1) == ((), "")
    assert ask_whether_due(1, 2) == (("2 new steps (2 wanted)",), "")
    assert ask_whether_due(31, 1)[1].startswith("stale (31 days old") and ask_whether_due(31, 1)[0]
    assert ask_whether_due(31, 0)[0] == ()  # the same data again cannot make another challenger
    assert ask_whether_due(1, 1, drifted) == (("drifting (wave: y)",), "drifting (wave: y)")
    assert ask_whether_due(-400, 0) == ((), "")  # a clock that was set back
    assert judge_due(None, (), settings, RULES, as_of=NOW, now=NOW, new_steps=0).reasons == (
        "there is no champion",
    )


@pytest.mark.parametrize(
    ("calendar", "first_new"),
    [
        ({"kind": "regular", "freq": "1h"}, "2024-06-03T00:00"),
        ({"kind": "regular", "freq": "1D"}, "2024-06-04"),
        ({"kind": "regular", "freq": "1W-MON"}, "2024-06-03"),
        ({"kind": "regular", "freq": "1MS"}, "2024-06-01"),
        ({"kind": "regular", "freq": "1ME"}, "2024-06-30"),
        ({"kind": "weekdays"}, "2024-06-04"),
        ({"kind": "sessions", "exchange": "XNYS"}, "2024-06-04"),
        ({"kind": "year_weeks"}, "2024-06-03"),
        ({"kind": "index"}, "1970-01-01T10:00"),
    ],
)
def test_steps_are_new_from_the_first_behind_the_champions_data_on(
    tmp_path: Path, calendar: dict[str, str], first_new: str
) -> None:
    settings = wave(calendar=calendar)
    start = pd.Timestamp(first_new) - pd.Timedelta(1 if calendar["kind"] == "index" else 300, "D")
    later_moment = pd.Timestamp(first_new) + pd.Timedelta(200, "D")
    steps = grid(settings.calendar, max(start, pd.Timestamp("1970")), later_moment)
    n_old = int(steps.searchsorted(pd.Timestamp(first_new)))
    job = RetrainingJob(tmp_path, NAME, NOW, {})
    as_of = known_from(settings.calendar, steps[:n_old])[-1].isoformat()
    champion = Champion(1, Mock(), Mock(as_of=as_of))
    for n_new in (0, 1, 2):
        counted = _count_new_steps(
            job, champion, steps[: n_old + n_new].to_numpy(), settings.calendar
        )
        assert counted == n_new


@pytest.mark.parametrize(("as_of", "n_new"), [(None, 2), (NOW, 0)])
def test_a_decision_on_a_row_that_is_gone_does_not_hide_new_rows(
    tmp_path: Path, as_of: pd.Timestamp | None, n_new: int
) -> None:
    for end in ("2024-06-03T00:00:00", "2042-06-04T00:00:00"):
        folder = ProjectPaths.of(tmp_path).retraining(NAME) / "decisions"
        Decision(
            key=end[:4],
            dataset=NAME,
            as_of=end,
            data_sha256="",
            data_end=end,
            config_hash="",
            revision="",
            at=NOW.isoformat(),
            word="kept",
            reason="",
        ).write(folder / f"{end[:4]}.json")
    steps = pd.date_range("2024-06-01", "2024-06-05").to_numpy()
    job = RetrainingJob(tmp_path, NAME, NOW, {}, as_of)
    assert _count_new_steps(job, None, steps, wave().calendar) == n_new


def test_rules_of_a_dataset_go_before_the_defaults_and_a_typo_stops(tmp_path: Path) -> None:
    path = tmp_path / "retraining.yaml"
    small_project.write_yaml(
        path, {"defaults": {"alpha": 0.1}, "datasets": {NAME: {"fresh_steps": 40}}}
    )
    rules = load_retraining(NAME, tmp_path)
    assert (rules.alpha, rules.count_fresh_steps(wave()), rules.new_steps) == (0.1, 40, None)
    assert load_retraining("other", tmp_path).count_fresh_steps(wave()) == 28
    small_project.write_yaml(path, {"defaults": {"alhpa": 0.1}})
    with pytest.raises(InputError, match="alpha"):
        load_retraining(NAME, tmp_path)
    sessions = wave(calendar={"kind": "weekdays"})
    assert RULES.count_fresh_steps(sessions) == 60
    hours = {"days": ["mon", "tue"], "first": "09:00", "last": "17:00"}
    opened = wave(calendar={"kind": "regular", "freq": "1h", "opening_hours": hours})
    assert RULES.count_fresh_steps(opened) == 4 * 2 * 9


def test_where_no_last_value_is_known_the_live_error_is_a_number_still(project: Path) -> None:
    ensemble = load_trained_ensemble(project / "data" / "trained" / NAME / "ridge")
    values = [np.nan, 1.0, 2.0, np.nan, 1.0, 2.0]
    frame = pd.DataFrame({"unique_id": NAME, "ds": days(6), "y": values})
    panel = from_frame(frame, NAME, ensemble.task)
    champion = Mock(
        predict=lambda _panel, rows: {uid: np.zeros((2, 2, 1)) for uid in rows},
        scaling=ensemble.scaling,
    )
    card = Mock(expected={NAME: [1.0, 1.0]}, naive={NAME: [1.0, 1.0]})
    table = evidence._forecast_at({NAME: np.array([0, 3])}, champion, panel)
    assert table["last"].isna().tolist() == [True, True, False, False]
    assert live_accuracy.error_over_expected(table, card) == 1.5
    assert np.isnan(live_accuracy.error_over_expected(table.assign(y_hat=np.nan), card))


def test_a_new_shop_and_a_closed_one_leave_the_live_error_of_the_others_as_it_is() -> None:
    """`new` joined after the champion's fit and `closed` ended before it."""
    spans = {"open": (0, 60), "new": (25, 60), "closed": (0, 30)}
    y = np.random.default_rng(0).normal(50, 5, 60)
    all_days = days(60)
    parts = [
        pd.DataFrame({"unique_id": name, "ds": all_days[first:stop], "y": y[first:stop]})
        for name, (first, stop) in spans.items()
    ]
    settings = wave(target={"column": "y"}, lookback=4, horizon=2, step_size=1)
    champion = Mock(
        predict=lambda panel, rows: {uid: np.full((len(rows[uid]), 2, 1), 50.0) for uid in rows},
        scaling=Mock(hide_wild=lambda series: series.values),
    )
    card = Mock(
        last_target_used=str(all_days[39]),
        expected={"open": [5.0, 5.0], "closed": [5.0, 5.0]},
        naive={"open": [7.0, 7.0], "closed": [7.0, 7.0]},
    )

    def measure(frame: pd.DataFrame) -> object:
        panel = from_frame(frame, NAME, settings.task)
        return evidence.measure_live_error(champion, card, panel, RULES, fresh_steps=28)

    assert measure(parts[0]) is not None
    assert measure(pd.concat(parts, ignore_index=True)) == measure(parts[0])
    assert measure(pd.concat(parts[1:], ignore_index=True)) is None
