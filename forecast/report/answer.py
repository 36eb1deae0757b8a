"""The first screen of the page, for each dataset: the result in one sentence (`describe_result`),
its size in the unit of a series (`describe_scale`), a chart of errors (`error_panel`), and what to
do next (`advise`); and `contribution_table`, the parts of the last test forecast. `forecast
promote` prints `describe_doubt`.

Sentence and advice follow from the words of the corrected tests.
"""

from __future__ import annotations

from forecast.comparison.low_medians import describe_low_medians
from forecast.comparison.scores import sort_by_size
from forecast.comparison.sentences import BAR_WORDS, with_word
from forecast.data.comparison_records import PairedTest
from forecast.data.results import Results
from forecast.forecaster.intervals import NO_CALIBRATION
from forecast.report import text
from forecast.report.charts import Interval, interval_chart
from forecast.report.figures import LINEAR, ChartPanel, change_label, interval_row, ranking_metric
from forecast.report.panels import describe_first, is_private
from forecast.report.score_tables import served_errors
from forecast.report.text import Row, Table, number
from forecast.system.errors import plural

CONSTANT_BARS = ("naive", "historical_mean", "historical_median")
"""The last value and the levels of all history. Where one of them is not beaten, the past tells no
more than a level; that of the lookback moves, so that a longer history may tell more.
"""


def describe_result(results: Results) -> str:
    """One sentence: which model was selected, how it compares with the bar, and whether a network
    is worth its cost. A dataset of one series has the errors in its unit.
    """
    model = results.selected_model("shipped")
    score = results.score(model or "", "shipped")
    if model is None or score is None:
        return "No model was selected: nothing could be compared."
    metric = ranking_metric(results)
    unit = f" {results.unit}" if metric.in_units and results.unit else ""
    error = f"{metric.title} {text.figure(score[metric.name])}{unit}"
    test = results.tests("shipped", "bar").get(model)
    against_bar = ""
    if test is not None:
        against_bar = f", {_describe_outcome(test)} {BAR_WORDS[test.against]}"
        bar = results.score(test.against, "shipped")
        if metric.in_units and bar is not None:
            against_bar += f" ({text.figure(bar[metric.name])}{unit})"
        if test.is_kept_from_better:
            against_bar += f", but not shown to be better than {BAR_WORDS[test.not_better_than]}"
    networks = _describe_networks(results)
    return f"{text.name(model)} is selected: {error} on test{against_bar}; {networks}."


def describe_scale(results: Results) -> str:
    """A sentence with the mean absolute errors of the selected model and of the bar on the largest
    of several series, in its unit, since a MASE has none. Empty for one series or no selection.
    """
    model = results.selected_model("shipped")
    if model is None or ranking_metric(results).in_units:
        return ""
    series = sort_by_size(results)[0]
    errors = served_errors(results, "shipped")["mae"]
    unit = f" {results.unit_of(series)}" if results.unit_of(series) else ""
    mae = text.figure(errors.get((model, series)))
    which = describe_first(results)
    words = f"For scale: of {series}, the {which} series, its mean absolute error is {mae}{unit}"
    bar = results.verdicts.bar
    if bar in BAR_WORDS and bar != model:
        words += f"; {BAR_WORDS[bar]} has {text.figure(errors.get((bar, series)))}{unit}"
    return f"{words}."


def _describe_outcome(test: PairedTest) -> str:
    """The outcome of a test in words: `57.0 % below` if the test says better, or if only another
    simple forecast keeps it from that (`is_kept_from_better`); `57.0 % above` if it says worse;
    else equivalent, not distinguishable, or undecided because there are too few origins.
    """
    size = text.percent(abs(test.relative_difference or 0.0))
    if test.word == "better" or test.is_kept_from_better:
        return f"{size} below"
    if test.word == "worse":
        return f"{size} above"
    if test.word == "equivalent":
        return "equivalent to"
    signed = text.signed_percent(test.relative_difference)
    if test.word == "undecided":
        return f"undecided ({signed}, {plural(test.n, 'origin')}) against"
    return f"not distinguishable ({signed}) from"


def _describe_networks(results: Results) -> str:
    """How many networks are better than the skip that they are added to, which of them most, and
    whether that one is worse than the selected model; or that there is no such network.
    """
    tests = list(results.tests("shipped", "skip").values())
    if not tests:
        untrained = [text.name(name) for name in results.untrained("shipped")]
        if untrained:
            return f"no step of training helped {text.listing(untrained)}, so no network was left"
        return "no network was compared"
    better = with_word("better", tests)
    if not better:
        return "no network is shown to be better than the model that it is added to"
    best = min(better, key=lambda test: test.relative_difference or 0.0)
    name, change_of_best = text.name(best.model), text.signed_percent(best.relative_difference)
    if len(tests) == 1:
        words = f"{name}, the only network, is better than {best.against} alone ({change_of_best})"
    else:
        verb, what = ("is", "it stands") if len(better) == 1 else ("are", "they stand")
        words = (
            f"{len(better)} of {len(tests)} networks {verb} better than what {what} on, {name} most"
            f" ({change_of_best} against {best.against})"
        )
    against_selected = results.tests("shipped", "best").get(best.model)
    if against_selected is not None and against_selected.word == "worse":
        words += f", but worse than {text.name(against_selected.against)}"
    return words


def contribution_table(results: Results) -> Table | None:
    """The contribution of each part to the first, a middle and the last step of one forecast; their
    sum, which is the forecast; and the mean size of the contributions of each part over all
    explained origins. None for private data, and for a frame that was compared in Python.

    The forecast is the last one of the test block, of the largest series; of several targets, of
    the first series and target.
    """
    table = results.explanation
    if table.empty or is_private(results):
        return None
    first = table.iloc[0]
    table = table[(table["unique_id"] == first["unique_id"]) & (table["output"] == first["output"])]
    horizon = int(table["step"].max())
    steps = sorted({1, (horizon + 1) // 2, horizon})
    newest = table[table["cutoff"] == table["cutoff"].max()]
    wide = newest.pivot(index="part", columns="step", values="contribution")[steps]
    wide = wide.loc[list(dict.fromkeys(newest["part"]))]
    wide.loc["forecast"] = wide.sum()
    wide["mean size"] = table["contribution"].abs().groupby(table["part"]).mean()
    unit = text.in_brackets(results.unit)
    columns = [("Part", ""), *((f"step {step}{unit}", "") for step in steps), ("mean size", "")]
    return Table(
        columns, [Row(str(part), list(map(number, row))) for part, *row in wide.itertuples()]
    )


def advise(results: Results) -> list[str]:
    """What to do next, most urgent first.

    With a leak alarm this is only to look for the leak. Else: to serve nothing, or to collect data
    if there are too few origins; to set the keys for a mean if medians are too low; without a doubt
    to serve the selected model, which is better than the bar or a simple forecast itself; and what
    to do about levels without an interval.
    """
    verdicts = results.verdicts
    if verdicts.leaks:
        return [
            "Look for a leak before believing anything: the error of"
            f" {text.name(verdicts.leaks[0].model)} is too good to be true."
            f" `forecast audit {results.name}` searches for it."
        ]
    advice = []
    model = results.selected_model("shipped") or ""
    if low := describe_low_medians(results, model, results.dataset.task):
        advice.append(low)
    test = results.tests("shipped", "bar").get(model)
    if doubt := describe_doubt(results):
        advice.insert(0, doubt)
    elif test is not None and test.word == "better":
        advice.append(_describe_serving(results, model))
    else:
        advice.append(
            f"Validation selects a simple forecast, {BAR_WORDS[model]}: no model had a lower error"
            f" there. {_describe_serving(results, model)} {_describe_remedy(results, model)}"
        )
    if verdicts.unsupported_levels:
        levels = sorted({entry.level for entry in verdicts.unsupported_levels})
        listed = text.listing([text.level(level) for level in levels])
        if all(NO_CALIBRATION in entry.reason for entry in verdicts.unsupported_levels):
            advice.append(f"There are no intervals. {NO_CALIBRATION}")
        else:
            advice.append(f"Lengthen the calibration block, or do without intervals of {listed}.")
    return advice


def describe_doubt(results: Results, serving: str = "") -> str:
    """Why the selected model should not serve yet, and what to do instead; empty if it is better
    than the bar, or is a simple forecast that is not worse.

    serving: the model that is in service already, if any
    """
    model = results.selected_model("shipped") or ""
    if not model:
        return "No model could be compared, for the reason in the verdict: none should serve."
    test = results.tests("shipped", "bar").get(model)
    word = test.word if test is not None else ""
    if word == "better" or (model in BAR_WORDS and word != "worse"):
        return ""
    bar = BAR_WORDS[(test.not_better_than if test is not None else "") or results.verdicts.bar]
    if test is not None and word == "undecided":
        doubt = (
            f"{plural(test.n, 'test origin')} did not decide whether {text.name(model)} is better"
            f" than {bar}."
        )
        advice, remedy = "Collect more data", " Collect more data." if serving else ""
    else:
        doubt = f"what validation selects is not shown to be better than {bar}."
        advice = "Put nothing into service yet"
        remedy = f" {_describe_remedy(results, results.verdicts.bar)}"
    start = f"{serving} is in service, although" if serving else f"{advice}:"
    return f"{start} {doubt}{remedy}"


def _describe_remedy(results: Results, bar: str) -> str:
    """A sentence on what could beat the simple forecast `bar`."""
    if bar in CONSTANT_BARS:
        targets = results.dataset.task.target
        if any(target.is_price for target in targets):
            kind = "a random walk, such as most prices"
        elif bar == "naive" or any(target.difference_inputs for target in targets):
            kind = "a random walk, if this is one"
        else:
            kind = "noise around a level"
        return f"Of {kind}, no history tells more; only inputs that are known ahead could."
    return "To beat it, give the models inputs that are known ahead, or a longer history."


def _describe_serving(results: Results, model: str) -> str:
    """How to use the selected model: by commands, or in Python if a frame was compared."""
    if not results.pointer:
        return (
            f"Use it: `forecast.fit` with `{model}` and the options of this comparison, then"
            " `model.predict()`; `model.save` keeps it."
        )
    if results.paths.is_narrowed:
        return (
            "Only the models of `--model` ran, and such a run promotes none. Compare all with"
            f" `forecast run --dataset {results.name}`, or fewer of your own choice (a list under"
            " `grids:` in configs/models.yaml, `grid:` with its name in the dataset's entry); then"
            f" `forecast promote {results.name}`."
        )
    return (
        f"Put {text.name(model)} into service with `forecast promote {results.name}`, then"
        f" `forecast predict {results.name}`."
    )


def error_panel(results: Results) -> ChartPanel | None:
    """A chart of the change of the error against the bar, with 95 % intervals: of the selected
    model, the best network, the ridge and the naive forecasts. None without a test of these.
    """
    bar = results.verdicts.bar
    tests = results.tests("shipped", "bar")
    models = [
        results.selected_model("shipped"),
        results.best_network("shipped"),
        LINEAR,
        "seasonal_naive",
        "naive",
    ]
    rows: list[Interval] = []
    for model in dict.fromkeys(models):
        test = tests.get(model or "")
        if test is not None and test.relative_difference is not None:
            rows.append(interval_row(test, test.relative_difference))
    if not rows:
        return None
    title = f"Error against {text.name(bar)}"
    chart = interval_chart(
        rows,
        label=title,
        x_title="change of the error, 95 % interval; left is better",
        show=change_label,
    )
    return ChartPanel(title, chart)
