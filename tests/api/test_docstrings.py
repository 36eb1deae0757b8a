"""Every public name has an example in its docstring, and the examples run."""

from __future__ import annotations

import doctest
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import forecast

NAMES = [name for name in forecast.__all__ if name != "__version__"]
QUICK = {"n_trials": 1, "trial_steps": 4, "final_steps": 4, "evaluate_every": 2, "seeds": [0]}
"""A budget for examples that are about something else than the forecast."""


def examples(public: Any) -> str:
    """The typed lines of its docstring, and of its methods' where it is a class."""
    members = vars(public).values() if inspect.isclass(public) else ()
    docs = [
        inspect.getdoc(member) or ""
        for member in (public, *members)
        if member is public or callable(member)
    ]
    typed = [
        example.source for doc in docs for example in doctest.DocTestParser().get_examples(doc)
    ]
    return "".join(typed)


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the docstrings have from one another."""
    df, folder = forecast.example().tail(2000), tmp_path_factory.mktemp("examples")
    board = forecast.compare(df, ["naive", "ridge"], freq="1h", horizon=3, n_jobs=1)
    board.model("ridge").save(folder / "ridge")
    return {"forecast": forecast, "df": df, "board": board, "folder": folder}


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_of_itself_and_of_its_methods(name: str) -> None:
    public_object, text = getattr(forecast, name), examples(getattr(forecast, name))
    assert text
    if inspect.isclass(public_object):
        fields = getattr(public_object, "__dataclass_fields__", {})
        public = [m for m in vars(public_object) if not m.startswith("_") and m not in fields]
        assert [m for m in public if not re.search(rf"\.{m}\b", text)] == []
    else:
        assert f"forecast.{name}(" in text


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_run(
    name: str, documented: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(documented["folder"])
    trained = forecast.fit
    if name == "Model":  # its network is fitted in four steps: the file is the example

        def fit(df: Any, model: str, **options: Any) -> forecast.Model:
            return trained(df, model, tuning=QUICK if model == "gru" else None, **options)

        monkeypatch.setattr(forecast, "fit", fit, raising=False)
    for docstring in doctest.DocTestFinder(exclude_empty=True).find(
        getattr(forecast, name), name, globs=documented
    ):
        failures: list[str] = []
        doctest.DocTestRunner(verbose=False).run(docstring, out=failures.append)
        assert not failures, "".join(failures)
    if name == "Board":
        assert (
            Path("errors.png").stat().st_size > 5000
            and "<html" in Path("report.html").read_text()[:500]
        )
