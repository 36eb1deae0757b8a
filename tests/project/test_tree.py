"""The house itself: rooms, layers, module sizes; docs/architecture.md names what is there."""

from __future__ import annotations

import ast
import re
import tomllib

import yaml

from tests.support.small_project import ROOT

PACKAGE = ROOT / "forecast"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
IMPORTLINTER = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]
(LAYERS,) = (
    contract
    for contract in IMPORTLINTER["contracts"]
    if contract["type"] == "layers" and contract["containers"] == ["forecast"]
)

MOST_ROOMS = 16
MOST_LAYERS = 10
MOST_MODULES = 286
MOST_NODES = 249_500
"""Nodes of the syntax trees, which no formatting changes. Raised from 223,000 for plans, holidays,
typed records, polynomial NARX, old versions of dependencies, hierarchies, explanations, anomalies,
pretrained models, a module for each thing that a new entry is guessed from, a net on delays in the
search for a system, a registry that somebody changes by hand, and the files of portals; the aim is
200,000.
"""
FEWEST_LINES = 40
MOST_TYPE_CHECKS = 5
DOORS = ("tensorflow", "keras", "optuna", "mlflow")


def lines(name: str) -> int:
    return len(MODULES[name].read_text(encoding="utf-8").splitlines())


def layered() -> list[list[str]]:
    return [[room.strip() for room in layer.split("|")] for layer in LAYERS["layers"]]


def test_there_are_at_most_sixteen_rooms_and_no_loose_module() -> None:
    assert len(ROOMS) <= MOST_ROOMS
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_the_import_contract_is_the_list_of_rooms_on_at_most_ten_layers() -> None:
    assert {room for layer in layered() for room in layer} == {*ROOMS, "__main__"}
    assert len(layered()) <= MOST_LAYERS
    assert (
        LAYERS["exhaustive"]
        and LAYERS["containers"] == ["forecast"]
        and "ignore_imports" not in LAYERS
    )


def test_only_the_doors_to_the_big_libraries_are_excepted_from_a_contract() -> None:
    for contract in IMPORTLINTER["contracts"]:
        assert "unmatched_ignore_imports_alerting" not in contract
        assert all(entry.split(" -> ")[1] in DOORS for entry in contract.get("ignore_imports", []))


def test_the_page_names_the_rooms_that_are_there_and_no_other() -> None:
    section = PAGE[PAGE.index("## The rooms") : PAGE.index("## Data flow")]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(ROOMS)


def test_the_page_draws_the_stages_in_their_order() -> None:
    section = PAGE[PAGE.index("## Data flow") : PAGE.index("## Layers")]
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert re.findall(r"│  (\w+)  ", section) == [name for name in stages if name != "settings"]


def test_every_module_of_the_picture_is_there() -> None:
    section = PAGE[PAGE.index("## Data flow") : PAGE.index("## Layers")]
    names_in_picture = re.findall(r"│.*  data/([\w, →]+)", section)
    names = [name for part in names_in_picture for name in re.split(r", | → ", part)]
    assert len(names) >= 10
    assert not [
        n for n in names if not (PACKAGE / "data" / n).is_dir() and f"data/{n}.py" not in MODULES
    ]


def test_the_page_draws_the_layers_of_the_contract() -> None:
    section = PAGE[PAGE.index("## Layers") : PAGE.index("## Where do I change")]
    drawn = [
        [room.strip() for room in line.split("|")]
        for line in re.findall(r"^    (.+)$", section, re.MULTILINE)
    ]
    assert [sorted(layer) for layer in drawn] == [sorted(layer) for layer in layered()]


def test_every_place_that_the_page_names_is_there() -> None:
    section = PAGE[PAGE.index("## Where do I change") :]
    places = re.findall(r"`([\w/]+/)`", section)
    assert len(places) >= 5
    assert not [place for place in places if not (PACKAGE / place).is_dir()]


def count_nodes(tree: ast.Module) -> int:
    """Nodes of a syntax tree, without annotations, docstrings and the contexts of names."""
    uncounted: set[int] = set()
    for node in ast.walk(tree):
        roots = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                roots.append(statement)
        for root in filter(None, roots):
            uncounted |= {id(inner) for inner in ast.walk(root)}
    return sum(
        id(node) not in uncounted and not isinstance(node, ast.expr_context)
        for node in ast.walk(tree)
    )


def test_types_docstrings_and_formatting_cost_no_node() -> None:
    plain = ast.parse("def f(x):\n    return x + 1")
    typed = ast.parse('def f(\n    x: int,\n) -> int:\n    """One more."""\n    return x + 1')
    assert count_nodes(plain) == count_nodes(typed)
    assert count_nodes(ast.parse("x = 1 + 1")) > count_nodes(ast.parse("x = 1"))


def test_there_are_few_modules_and_few_nodes() -> None:
    assert len(MODULES) <= MOST_MODULES
    nodes = [count_nodes(ast.parse(path.read_text("utf-8"))) for path in MODULES.values()]
    assert sum(nodes) <= MOST_NODES


def test_a_module_is_large_enough_to_be_one() -> None:
    modules = [name for name in MODULES if not name.endswith("__init__.py")]
    judged = {
        name
        for name in modules
        if not name.startswith(("models/families/", "config/")) and name != "__main__.py"
    }
    assert {name for name in judged if lines(name) < FEWEST_LINES} == set()


def test_the_kind_of_a_model_is_asked_by_its_methods_and_not_by_its_type() -> None:
    count = sum(
        len(re.findall(r"isinstance\([^\n]*Spec\b", path.read_text())) for path in MODULES.values()
    )
    assert count <= MOST_TYPE_CHECKS


def test_the_tests_lie_where_the_modules_lie() -> None:
    folders = {
        path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("*.py"))
    }
    assert folders - {"contract", "faults", "pipelines", "project", "support"} <= ROOMS


def test_every_long_file_of_the_tests_is_there() -> None:
    conftest = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    names = re.findall(
        r'^    "([\w/]+\.py)",$', conftest[conftest.index("LONG = (") :], re.MULTILINE
    )
    assert len(names) > 10 and not [name for name in names if not (ROOT / "tests" / name).exists()]
