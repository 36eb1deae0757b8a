"""Figures in the sentences of the README and the pages: no measured one is written by hand.

A figure is a number with a unit of measurement, or a decimal fraction. It is a setting, and then
that of the code (`SETTINGS`), or it was measured: then `python -m docs.generate` writes it, or it
stands in a dated note of docs/research/.
"""

from __future__ import annotations

import math
import re

import pandas as pd
import pytest

from forecast.api.board import TEST_SHARE
from forecast.api.frame_dataset import shares_before_test_block
from forecast.comparison import error_diagnostics as alarms
from forecast.comparison import longrun, losses, metrics, paired_tests, verdicts
from forecast.comparison.intervals import EVEN_LEVELS
from forecast.config.models import LevenbergMarquardt
from forecast.config.operation import (
    DEFAULT_GATE_DAYS,
    DEFAULT_GATE_SESSIONS,
    ExperimentEntry,
    Retraining,
)
from forecast.config.task import RegularCalendar
from forecast.forecaster import distributions, intervals
from forecast.forecaster.distributions import EVEN_QUANTILES
from forecast.identification.search_settings import SEARCH_ROWS, SearchSettings
from forecast.models.base import NetworkSpec
from forecast.operations import registry, schedule
from forecast.system import postgres
from forecast.tracking import mlflow_client
from forecast.training import descent, gradient, levenberg_marquardt
from tests.support.small_project import ROOT

PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/learn/*.md"))
}
NUMBER_WORDS = "two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|sixty"
UNITS = (
    "ms|milliseconds?|s|seconds?|minutes?|KB|MB|GB|bytes|%|percent|points|°C|times|CPU|tests|models"
    "|networks|families|words|packages"
)
FIGURE = re.compile(
    rf"(?<![\w.,/^-])(?:\d[\d,]*)?\.?\d+ ?(?:{UNITS})(?!\w)"
    rf"|\b(?:{NUMBER_WORDS}|about an?) (?:milliseconds?|seconds?|minutes?)\b"
    r"|(?<![\w.,/^-])(?:0?\.\d+|\d+\.\d{3,})(?![\d.]*\d|\w)"
    r"|\b(?:half|third|quarter|tenth|twice) (?:as (?:fast|long|slow)|faster|slower|of the time)"
)
NO_SENTENCE = re.compile(
    r"<!-- generated: (.*?) -->.*?<!-- end of \1 -->|^```.*?^```|^    [^\n]*", re.DOTALL | re.M
)
CODE = re.compile(r"`[^`]*`")
LEVEL = re.compile(r"\b(?:80|95) % (?:interval|confidence|bound|band)")
"""What an interval is called, not how often it holds."""
WORDS = {10: "ten seconds", 120: "2 minutes", 300: "5 minutes"}


def percent(share: float) -> str:
    return f"{100 * share:g} %"


def shares_of_fit() -> dict[str, float]:
    """The blocks of `forecast.fit` in a long series."""
    times = pd.date_range("2024-01-01", periods=8000, freq="h")
    frame = pd.DataFrame({"unique_id": "a", "ds": times})
    return shares_before_test_block(frame, RegularCalendar(kind="regular", freq="1h"), 24, 24, 24)


def network(option: str) -> str:
    """The default of an option of every network."""
    return f"{NetworkSpec.model_fields[option].default:g}"


def oldest(package: str) -> str:
    """The version that `make test-floors` tries, without its patch level."""
    floors = (ROOT / "tests" / "floors.txt").read_text(encoding="utf-8")
    return re.findall(rf"^{package}==(\d+\.\d+)", floors, re.MULTILINE)[0]


def settings() -> dict[str, list[str]]:
    """By page the phrases that give a setting, made from the code."""
    rules = Retraining.model_validate({})
    marquardt = LevenbergMarquardt()
    memory = f"0.84 to the power of t: {0.84**20:.0%}".replace("%", " %")
    equivalent = percent(paired_tests.EQUIVALENCE_MARGIN)
    return {
        "README.md": [
            "comes within 2 % of the lowest error",  # held by test_readme_numbers.py
        ],
        "docs/glossary.md": [f"test at {percent(verdicts.ALPHA)} finds"],
        "docs/identification.md": [
            f"longest_dead_time={SearchSettings().longest_dead_time}",
            f"more than {SEARCH_ROWS:,} rows, the search uses the {SEARCH_ROWS:,}",
            f"{_default(ExperimentEntry, 'test')}, {_default(ExperimentEntry, 'validation')}",
        ],
        "docs/installing.md": [f"dvc | {oldest('typer')}, {oldest('holidays')}, "],
        "docs/learn/exercises.md": [
            "1.5 y[t−1] − 0.7 y[t−2]",
            f"{memory} is left after 20 rows",
            "radius 0.9, 1 and 1.1, after how many rows is 1 % of a disturbance left",
            f"1 % is left after ln 0.01 / ln 0.9 = {math.log(0.01) / math.log(0.9):.0f} rows",
            "at 0.9. At 1 it stays",
        ],
        "docs/models.md": [
            "q(0.5) = skip + p",
            f"feeds it back, {distributions.N_PATHS} times",
        ],
        "docs/operations.md": [
            f"every {WORDS[round(schedule.HEARTBEAT_SECONDS)]}",
            f"| {DEFAULT_GATE_DAYS} days, {DEFAULT_GATE_SESSIONS} sessions or rows;"
            " 8 × `step_size` at least |",
            f"at least {paired_tests.ORIGINS} origins",
            *(
                f"| `{key}` | {getattr(rules, key):g} |"
                for key in ("max_age_days", "alpha", "margin", "live_error", "keep_snapshots")
            ),
            f"| {rules.psi:g}, {rules.ks_p:g} |",
            f"| `after_promotion` | `{rules.after_promotion}` |",
        ],
        "docs/protocol.md": [
            f"at most {longrun.COSINES:g} × (number of",
            f"in at least {longrun.MANY_HORIZONS} runs",
            f"Fewer than {paired_tests.MINIMUM} origins",
            f"p below {percent(verdicts.ALPHA)}",
            f"those within {percent(losses.NEAR_BAR - 1)} of it",
            f"costs {equivalent} more loss than the other",
            f"at least {paired_tests.ORIGINS} origins",
            f"under {percent(alarms.MIN_VARIANCE_SHARE)} of the actual variance",
            "changes at the 5 % level",  # error_diagnostics: a slope above its standard error
            f"an error within {percent(alarms.NEAR_NAIVE)} of its",
            f"more than {percent(alarms.MOST_BELIEVED_GAIN)} below the naive",
            f"at the {percent(alarms.ALARM_LEVEL)} level",
            f"({intervals.min_calibration_size(0.95)} for 95 %)",
            f"= L / (L + {intervals.PRIOR_ROWS})",
            f"with a weight of {intervals.LEANING:g} for all steps together".replace("0.", "."),
            f"at least ±{100 * metrics.ALL_STEPS_BAND:g} points over all steps and"
            f" ±{100 * metrics.STEP_BAND:g} at",
            f"probabilities {EVEN_QUANTILES[0]} to {EVEN_QUANTILES[-1]}",
            f"{EVEN_LEVELS[1]:g}, … {EVEN_LEVELS[-1]:g} %",
        ],
        "docs/python.md": [
            f"{percent(round(shares_of_fit()['validation'], 2))} before that",
            f"newest {percent(TEST_SHARE)} of the steps",
            "80 % interval needs four calibration origins, 95 % nineteen, 99 % ninety-nine",
        ],
        "docs/team.md": [
            f"after {postgres.SILENT_SECONDS} s when its machine",
            f"publishing waits up to {WORDS[round(mlflow_client.TIMEOUT)]}",
            f"promoting up to {WORDS[round(registry.TIMEOUT)]}",
        ],
        "docs/training.md": [
            f"| `learning_rate` | {network('learning_rate')}, tuned |",
            f"| {network('batch_size')}, {network('chunk')}, {network('burn_in')} |",
            f"| `clip` | {NetworkSpec.model_fields['clip'].default} |",
            f"| `weight_decay` | {NetworkSpec.model_fields['weight_decay'].default:.4f} |",
            f"| `dropout` | {network('dropout')}, tuned |",
            f"`momentum` ({descent.MOMENTUM})",
            f"[{gradient.PATIENT_SHARE:g} of all]".replace("0.", "."),
            f", at least {gradient.LEAST_PATIENCE} |",
            f"({levenberg_marquardt.MAX_WEIGHTS:,} weights at most)",
            *(
                f"| `{key}` | {getattr(marquardt, key)} |"
                for key in ("iterations", "restarts", "patience")
            ),
        ],
    }


def _default(model: type[ExperimentEntry], key: str) -> float:
    return float(model.model_fields[key].default)


SETTINGS = settings()


def figures_by_hand(text: str, allowed: list[str]) -> list[str]:
    """The figures of a page's sentences and tables beside generated parts, code and settings."""
    text = " ".join(NO_SENTENCE.sub("", text).split())
    for phrase in allowed:
        text = text.replace(phrase, "")
    return FIGURE.findall(LEVEL.sub("", CODE.sub("", text)))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_measured_figure_that_was_written_by_hand(page: str) -> None:
    figures = figures_by_hand(PAGES[page], SETTINGS.get(page, []))
    assert not figures, (
        f"{page}: let `python -m docs.generate` write a measured figure, or move it to a note of"
        f" docs/research/ and link to it; add a setting to SETTINGS, made from the code: {figures}"
    )


@pytest.mark.parametrize("page", SETTINGS)
def test_the_settings_that_a_page_gives_are_those_of_the_code(page: str) -> None:
    text = " ".join(PAGES[page].split())
    missing = [phrase for phrase in SETTINGS[page] if phrase not in text]
    assert not missing, f"{page} gives another setting than the code: {missing}"


@pytest.mark.parametrize(
    "sentence",
    [
        "It takes 18.1 ms.",
        "Networks start five seconds late.",
        "A task costs about a millisecond.",
        "These combinations differ by up to .07 %.",
        "An estimated need of 0.8 GB with TensorFlow.",
        "It is 4.2 times as fast and a quarter faster than before.",
        "| reconciled | 1.781 |",
        "The lock has 183 packages.",
        "A 95 % interval holds 81 % of the values.",
    ],
)
def test_a_planted_figure_is_seen(sentence: str) -> None:
    assert figures_by_hand(sentence, SETTINGS["docs/glossary.md"])


def test_a_figure_in_a_generated_part_or_in_code_is_not_taken_for_one_by_hand() -> None:
    page = "<!-- generated: speed -->\n2.4 ms\n<!-- end of speed -->\n\n    0.5\n\n`0.5`\n"
    assert not figures_by_hand(page, [])
