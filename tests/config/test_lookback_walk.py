"""One number from configs/datasets.yaml to a fitted network: the files that name it are few and
known.
"""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.module_files import module_files

ROOT = Path(__file__).resolve().parents[2]
WALK = {
    "forecast/config/datasets.py": "the key of an entry",
    "forecast/config/task.py": "the field of the task, in task.json and in a saved model",
    "forecast/data/splits.py": "which origins have their rows",
    "forecast/data/windows.py": "the rows a forecast sees",
    "forecast/models/base.py": "the shapes of the network that a spec builds",
    "forecast/networks/description.py": "the network's shapes, its memory and its warm-up",
}
FITS = "forecast.forecaster.fitting"
"""Everything between the configuration and a fitted network runs inside of what this module
imports.
"""


def names(path: Path) -> set[str]:
    """Every name, attribute, parameter, keyword and plain text key of a file; docstrings and
    messages are none.
    """
    named_keys: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for field in ("id", "attr", "arg", "name"):
            value = getattr(node, field, None)
            named_keys |= {value} if isinstance(value, str) else set()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            named_keys.add(node.value)
    return named_keys


def test_lookback_passes_at_most_six_files_from_yaml_to_a_fitted_network():
    naming = {
        file.as_posix()
        for file in module_files(FITS, ROOT, found_by_name=False)
        if "lookback" in names(ROOT / file)
    }
    assert naming <= WALK.keys() and len(WALK) <= 6
    # which a fit needs for the splits at most
    assert WALK.keys() <= naming | {"forecast/config/datasets.py"}


def test_no_dictionary_carries_it_on_the_way():
    """It is handed on by fields and keywords that a type checker sees; a saved model's old JSON is
    the exception.
    """
    for file in module_files(FITS, ROOT, found_by_name=False):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        keys = {
            ast.unparse(key)
            for node in ast.walk(tree)
            if isinstance(node, ast.Dict)
            for key in node.keys
            if key
        }
        assert "'lookback'" not in keys or file.as_posix() == "forecast/config/task.py"
