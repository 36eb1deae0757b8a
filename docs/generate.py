"""`make docs`: the parts of the documents that are made from code and results, between their
markers.

A part stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`. The README's results
are those of the committed reports/leaderboard.csv and reports/verdicts.json.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pandas as pd
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bench import page as measured
from bench import study_page
from forecast.cli import app
from forecast.comparison.metrics import METRICS
from forecast.comparison.sentences import BAR_WORDS
from forecast.config.datasets import (
    Column,
    Dataset,
    FractionSplits,
    FutureColumn,
    JoinedColumn,
    Licence,
    Quality,
    QualityRule,
    Splits,
)
from forecast.config.models import (
    Combination,
    Evaluation,
    LevenbergMarquardt,
    Models,
    Training,
    Tuning,
    load_models,
)
from forecast.config.operation import Hooks, Retraining, Schedule, ScheduledJob
from forecast.config.paths import ProjectPaths
from forecast.config.sources import Source
from forecast.config.task import (
    Holidays,
    OpeningHours,
    RegularCalendar,
    SessionCalendar,
    StaticColumn,
    WeekdayCalendar,
    YearWeekCalendar,
)
from forecast.data.comparison_records import PairedTest, Verdicts
from forecast.data.sources import file, open_meteo, packaged, yahoo
from forecast.models import catalogue
from forecast.report import text
from forecast.system.errors import EXIT_CODES
from forecast.system.files import read_json, write_text

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("baseline", "linear", "regression", "statistical", "network", "pretrained")


def read_verdicts(paths: ProjectPaths) -> dict[str, Verdicts]:
    """The verdicts of reports/verdicts.json by dataset; empty where no run has written it."""
    if not paths.verdicts.exists():
        return {}
    content = read_json(paths.verdicts)
    return {name: Verdicts.model_validate(of_dataset) for name, of_dataset in content.items()}


def families(root: Path) -> str:
    """The table of families, from their specs and configs/models.yaml."""
    models = load_models(root / "configs")
    rows = [
        "| family | in `configs/models.yaml` | what it is | equation | source |",
        "|---|---|---|---|---|",
    ]
    for kind in KINDS:
        for name, spec in catalogue().items():
            if spec.kind == kind:
                entries = [e for e in models.grids["full"] if models.models[e]["family"] == name]
                link = f"[{name}](../forecast/models/families/{name}.py)"
                in_yaml = ", ".join(f"`{entry}`" for entry in entries)
                rows.append(
                    f"| {link} | {in_yaml} | {spec.summary} | `{spec.equation}` | {spec.source} |"
                )
    return "\n".join(rows)


def commands(root: Path) -> str:
    """The table of make targets and commands, from the Makefile and the first sentence of each
    command.
    """
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):[^#\n]*## (.+)$", makefile, re.MULTILINE)
    rows = ["| command | does |", "|---|---|"]
    rows += [f"| `make {name}` | {sentence} |" for name, sentence in targets]
    known = [(command.name, command.callback) for command in app.registered_commands]
    for group in app.registered_groups:
        known += [
            (f"{group.name} {c.name}", c.callback) for c in group.typer_instance.registered_commands
        ]
    rows += [
        f"| `forecast {name}` | {_first(function.__doc__)} |" for name, function in sorted(known)
    ]
    return "\n".join(rows)


def exit_codes(root: Path) -> str:
    """The table of exit codes, from `forecast.system.errors`."""
    rows = ["| code | means | who does what |", "|---|---|---|"]
    rows += [f"| {known.code} | {known.meaning} | {known.next_step} |" for known in EXIT_CODES]
    return "\n".join(rows)


CONFIGURATION: dict[str, tuple[type[BaseModel], ...]] = {
    "datasets.yaml: an entry": (Dataset, Splits, FractionSplits, Quality, QualityRule, Licence),
    "datasets.yaml: columns": (Column, FutureColumn, JoinedColumn, StaticColumn, Holidays),
    "datasets.yaml: calendars": (
        RegularCalendar,
        OpeningHours,
        SessionCalendar,
        WeekdayCalendar,
        YearWeekCalendar,
    ),
    "datasets.yaml: sources": (
        file.Settings,
        packaged.Settings,
        yahoo.Settings,
        open_meteo.Settings,
    ),
    "models.yaml": (Models, Training, LevenbergMarquardt, Combination),
    "tuning.yaml": (Tuning,),
    "evaluation.yaml": (Evaluation,),
    "retraining.yaml: `defaults`, or a dataset": (Retraining, Hooks),
    "schedule.yaml": (Schedule, ScheduledJob),
}
"""File of configs/ → the records that it is read into."""


def configuration(root: Path) -> str:
    """The keys of each file of configs/ with type and default, and what their records say."""
    parts = []
    for title, records in CONFIGURATION.items():
        parts.append(f"## {title}")
        for record in records:
            name = f"`{record.__name__}`"
            if issubclass(record, Source):
                name = f"source {_type_words(record.model_fields['kind'].annotation)}"
            rows = ["| key | type | default |", "|---|---|---|"]
            rows += [
                f"| `{field.alias or key}` | {_type_words(field.annotation)} | {_default(field)} |"
                for key, field in record.model_fields.items()
            ]
            parts += [f"**{name}**: {' '.join((record.__doc__ or '').split())}", "\n".join(rows)]
    return "\n\n".join(parts)


def _default(field: FieldInfo) -> str:
    """The default as YAML has it; `wanted` for a key that has none."""
    if field.is_required():
        return "wanted"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None or value == "":
        return "none"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def _type_words(annotation: Any) -> str:
    """A type in words: `list of Column`, `one of a, b`, `int or none`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_words(arguments[0])
    if origin is Literal:
        words = ", ".join(f"`{value}`" for value in arguments)
        return words if len(arguments) == 1 else f"one of {words}"
    if origin in (Union, UnionType):
        return " or ".join(_type_words(part) for part in arguments)
    if origin is tuple:
        return f"list of {_type_words(arguments[0])}"
    if origin in (dict, Mapping):
        of_options = get_origin(arguments[1]) in (dict, Mapping)
        return f"{'options' if of_options else _type_words(arguments[1])} by name"
    return "none" if annotation is NoneType else f"`{getattr(annotation, '__name__', annotation)}`"


def metrics(root: Path) -> str:
    """The table of metrics, from `forecast.comparison.metrics`."""
    rows = ["| column | title | what it is |", "|---|---|---|"]
    rows += [f"| `{row.name}` | {row.title} | {row.explanation} |" for row in METRICS]
    return "\n".join(rows)


def _first(docstring: str) -> str:
    """The first paragraph on one line, begun in lower case like the targets of the Makefile."""
    sentence = " ".join(docstring.strip().partition("\n\n")[0].split()).rstrip(".")
    return sentence[0].lower() + sentence[1:]


README_COLUMNS = (
    "data",
    "model",
    "MASE",
    "bar",
    "change against the bar",
    "95 % interval",
    "corrected verdict against the bar",
)


def results(board: pd.DataFrame, verdicts: Mapping[str, Verdicts]) -> str:
    """Per dataset a sentence, then one table: of each dataset the row that validation selected, the
    best network and ridge regression.
    """
    means = board[board["seed"] == "mean"].astype(object).where(board.notna(), "")
    rows_by_dataset = {
        name: [row for row in means.to_dict("records") if row["dataset"] == name]
        for name in verdicts
    }
    sentences = [
        "\n".join(_wrapped(finding(name, rows_by_dataset[name], verdict), 120))
        for name, verdict in verdicts.items()
    ]
    table = [_markdown_row(README_COLUMNS), "|---|---|--:|---|--:|--:|---|"]
    for name, verdict in verdicts.items():
        scored = _scored_rows(rows_by_dataset[name])
        for model, role in _models_in_readme(scored, verdict):
            table.append(_markdown_row(_readme_cells(name, role, scored[model], verdict)))
    return "\n\n".join([*sentences, "\n".join(table)])


def _scored_rows(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows of the ranking as shipped that have an error, by model."""
    return {
        row["model"]: row
        for row in rows
        if row["ranking"] in ("shipped", "baseline") and row["mase"] != ""
    }


def _models_in_readme(
    scored: Mapping[str, dict[str, Any]], verdict: Verdicts
) -> list[tuple[str, str]]:
    """Models of one dataset with what they stand there for, lowest error first, each once."""
    untrained = {network.model for network in verdict.untrained if network.ranking == "shipped"}
    kinds = {entry: catalogue()[family].kind for entry, family in _families().items()}
    networks = [name for name in scored if kinds.get(name) == "network" and name not in untrained]
    roles = {verdict.chosen["shipped"]: "selected"}
    if networks:
        best_network = min(networks, key=lambda name: scored[name]["mase"])
        roles.setdefault(best_network, "best network")
    return sorted(roles.items(), key=lambda item: scored[item[0]]["mase"])


def _readme_cells(
    dataset: str, role: str, row: Mapping[str, Any], verdict: Verdicts
) -> tuple[str, ...]:
    """One row of the table in the order of `README_COLUMNS`."""
    change, interval, word = text.NOTHING, text.NOTHING, text.NOTHING
    for test in verdict.tests:
        is_against_bar = test.family == "bar" and test.model == row["model"]
        if is_against_bar and test.ranking in ("shipped", "baseline"):
            change, word = text.signed_percent(test.relative_difference), test.word
            interval = _relative_interval(test)
    model, error = f"`{row['model']}` ({role})", text.figure(row["mase"])
    return dataset, model, error, f"`{verdict.bar}`", change, interval, word


def _relative_interval(test: PairedTest) -> str:
    """The confidence limits of a difference, as shares of the mean loss of `test.against`."""
    if test.relative_limits is None:
        return text.NOTHING
    low, high = map(text.signed_percent, test.relative_limits)
    return f"{low} to {high}"


def _markdown_row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def finding(dataset: str, rows: list[dict[str, Any]], verdict: Verdicts) -> str:
    """One sentence on the ranking as shipped: whether anything beats the bar, how many
    networks beat what they stand on, and how the selected model compares with `ridge`.
    """
    words = {
        (test.family, test.model): test.word
        for test in verdict.tests
        if test.ranking in ("shipped", "baseline")
    }
    scored = _scored_rows(rows)
    if "better" not in {word for (family, _), word in words.items() if family == "bar"}:
        others = [row for name, row in scored.items() if name != verdict.bar]
        best = min(others, key=lambda row: row["mase"])
        change = best["mase"] / scored[verdict.bar]["mase"] - 1
        return (
            f"**{dataset}**: no model is shown to be better than {BAR_WORDS[verdict.bar]}. The"
            f" lowest error of the others, of `{best['model']}`, is {text.percent(abs(change))}"
            f" {'below' if change < 0 else 'above'} it."
        )
    selected = scored[verdict.chosen["shipped"]]
    share = 1 - selected["mase"] / scored["ridge"]["mase"]
    on_skips = _about_skips(
        [word for (family, _), word in words.items() if family == "skip"],
        [network.same_as for network in verdict.untrained if network.ranking == "shipped"],
    )
    return (
        f"**{dataset}**: {on_skips} `{selected['model']}` (selected) has {text.percent(abs(share))}"
        f" {'less' if share >= 0 else 'more'} error than `ridge`{_about_ridge(verdict)}."
    )


def _about_ridge(verdict: Verdicts) -> str:
    """What the corrected test says of `ridge` against the selected model of the ranking as
    shipped.
    """
    for test in verdict.tests:
        is_against_selected = (
            test.ranking == "shipped"
            and test.family == "best"
            and test.against == verdict.chosen["shipped"]
        )
        if is_against_selected and test.model == "ridge":
            if test.word in ("better", "worse"):
                return f", which the corrected test finds {test.word}"
            return f" ({test.word})"
    return ""


def _about_skips(words: list[str], untrained: list[str]) -> str:
    """How many networks are better than their linear part, the first thing a reader must know, and
    how many are no more than it: of each that did not train the row that it equals.
    """
    better = words.count("better")
    networks = f"any of {len(words)} networks" if len(words) > 1 else "the only network"
    sentence = f"no test finds {networks} better than its linear model alone"
    if better:
        owner = "its" if better == 1 else "their"
        sentence = (
            f"tests find {better} of {len(words)} networks better than {owner} linear model alone"
        )
    if untrained:
        listed = text.listing([f"`{model}`" for model in sorted(set(untrained))])
        sentence += f"; {len(untrained)} more did not train (= {listed})"
    return f"{sentence}."


def _families() -> dict[str, str]:
    models = load_models(ROOT / "configs")
    return {
        name: entry["family"] for name, entry in models.entries_to_fit(tuple(models.models)).items()
    }


def _wrapped(sentence: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        sentence, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def replaced(page: str, name: str, part: str) -> str:
    """`page` with `part` between the markers of `name`; `ValueError` where it has none."""
    begin, end = f"<!-- generated: {name} -->\n", f"\n<!-- end of {name} -->"
    if begin not in page or end not in page:
        raise ValueError(f"No markers of {name!r}: wanted {begin.strip()} ... {end.strip()}.")
    return page[: page.index(begin)] + begin + part + page[page.index(end) :]


def leaderboards(root: Path) -> str:
    """The README's results, from the two committed files of the last whole run."""
    board = pd.read_csv(root / "reports" / "leaderboard.csv", dtype={"seed": str})
    return results(board, read_verdicts(ProjectPaths.of(root)))


PARTS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "leaderboards": ("README.md", leaderboards),
    "families": ("docs/models.md", families),
    "commands": ("docs/running.md", commands),
    "exit codes": ("docs/running.md", exit_codes),
    "configuration": ("docs/configuration.md", configuration),
    "metrics": ("docs/configuration.md", metrics),
    "when recurrent": (study_page.PAGE, study_page.part),
    "answer of the study": (study_page.DESIGN, study_page.answer),
    **{name: (str(page.relative_to(ROOT)), make) for name, (page, make) in measured.PARTS.items()},
}
"""Name of each part → its page and what makes it from the code; all are tested to be up to date."""


def main(root: Path = ROOT) -> None:
    """Write every part anew, and the figures of the study."""
    for figure, svg in study_page.figures(root).items():
        write_text(root / figure, svg)
    for name, (page, make) in PARTS.items():
        path = root / page
        write_text(path, replaced(path.read_text(encoding="utf-8"), name, make(root)))


if __name__ == "__main__":
    main()
