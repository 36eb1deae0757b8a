"""Writes entries of configs/datasets.yaml as text, for `forecast add`.

`entry_line` writes one key with a comment. `add_entry` inserts a whole entry into the text of the
file, and its name into `run`; comments and all else stay. `data.guesses.entry` decides what an
entry contains.
"""

from __future__ import annotations

import textwrap
from typing import Any

import yaml

from forecast.system.errors import InputError


def entry_line(key: str, value: Any, remark: str = "") -> str:
    """The line of one key of an entry, indented below its name, with `remark` as a comment."""
    comment = f" # {remark}" if remark else ""
    return f"    {key}: {flow_yaml(value)}{comment}"


def flow_yaml(value: Any) -> str:
    """A value as one line of YAML."""
    text = yaml.safe_dump(
        value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True
    )
    return text.strip().removesuffix("...").strip()


def add_entry(text: str, name: str, block: str) -> str:
    """The text of configs/datasets.yaml with the entry `block` added, and its name in `run`.

    `InputError` with what to write by hand, where the text has a form, such as an alias or a
    mapping in braces, in which this would change more.
    """
    try:
        before = yaml.safe_load(text) or {}
        extended = {
            **before,
            "run": [*(before.get("run") or []), name],
            "datasets": {**(before.get("datasets") or {}), **yaml.safe_load(block)},
        }
        after = _add_name(_add_block(text, block), flow_yaml(name))
        if yaml.safe_load(after) == extended:
            return after
    except (yaml.YAMLError, AttributeError, TypeError):  # a text where keys are wanted
        pass
    raise InputError(
        "configs/datasets.yaml: `run` or `datasets` is written in a form (an alias, braces?) that"
        f" cannot be extended without changing more. Add {name!r} to `run` and this to `datasets`"
        " by hand,"
        f" then `forecast fetch {name}`:\n{block}"
    )


def _add_block(text: str, block: str) -> str:
    """`text` with `block` as the first entry of `datasets`."""
    nodes = _find_key(text, "datasets")
    if nodes is None:
        return f"{text}\ndatasets:\n{block}"
    key, value = nodes
    indent = key.start_mark.column + 2
    if isinstance(value, yaml.MappingNode):
        if not value.value:  # `datasets: {}`
            text = text[: key.end_mark.index + 1] + text[value.end_mark.index :]
        elif not value.flow_style:
            indent = value.start_mark.column
    return _insert_line(
        text, key.end_mark.index, textwrap.indent(textwrap.dedent(block), " " * indent)
    )


def _add_name(text: str, name: str) -> str:
    """`text` with `name` as the last one of `run`."""
    nodes = _find_key(text, "run")
    if nodes is None or not isinstance(nodes[1], yaml.SequenceNode):
        return f"run: [{name}]\n{text}"
    names = nodes[1]
    if not names.value:
        return _insert(text, names.start_mark.index + 1, name)
    end = names.value[-1].end_mark.index
    if names.flow_style:
        return _insert(text, end, f", {name}")
    return _insert_line(text, end, f"{' ' * names.start_mark.column}- {name}")


def _find_key(text: str, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    """The YAML nodes of a top-level key and its value; None without the key."""
    top = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = top.value if isinstance(top, yaml.MappingNode) else []
    return next(((key, value) for key, value in pairs if key.value == name), None)


def _insert(text: str, position: int, added: str) -> str:
    """`text` with `added` at `position`."""
    return text[:position] + added + text[position:]


def _insert_line(text: str, position: int, line: str) -> str:
    """`text` with `line` inserted below the line of `position`."""
    end = text.find("\n", position)
    return _insert(text, len(text) if end < 0 else end, f"\n{line}")
