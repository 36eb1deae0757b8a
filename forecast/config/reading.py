"""Reads YAML files as frozen pydantic models.

`load_config` reads a file as a `Config`, `validate_config` content that is already parsed. Every
fault is an `InputError` with file, key, what was found and what was wanted, and for an unknown key
the nearest known one. Also refused: a repeated key, a date without quotes, a boolean instead of a
number, and nesting deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from forecast.system.addresses import hide_addresses
from forecast.system.errors import InputError, one_line, quote_names, suggest

PlainValue: TypeAlias = (
    "bool | int | float | str | Sequence[PlainValue] | Mapping[str, PlainValue] | None"
)
"""The content of YAML and JSON files: a scalar, a list, or a mapping from names."""
Entry: TypeAlias = "Mapping[str, PlainValue]"
"""An entry of a YAML file, such as a model of configs/models.yaml: its settings by name."""


UNKNOWN_KEY = "unknown_key"
WANTED = {
    "tuple_type": "wanted a list",
    "list_type": "wanted a list",
    "string_type": "wanted text",
    "too_short": "wanted at least {min_length}",
    "int_type": "wanted a whole number",
    "int_parsing": "wanted a whole number",
    "int_from_float": "wanted a whole number",
    "float_type": "wanted a number",
    "float_parsing": "wanted a number",
    "bool_type": "wanted true or false",
    "bool_parsing": "wanted true or false",
}
"""The words for a type of pydantic's errors, instead of pydantic's own."""
MAX_DEPTH = 100
"""The deepest nesting of lists and mappings; no file of a project needs ten."""


class Config(BaseModel):
    """Base class of every configuration: immutable, unknown keys are refused."""

    # deferred, since a command uses few of all these classes
    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), defer_build=True
    )

    @model_validator(mode="before")
    @classmethod
    def _known_keys_and_no_switch_for_a_number(cls, value: Any) -> Any:
        """Refuses an unknown key, and `true` or `yes` where a number is wanted: Python would take
        it for 1.
        """
        for name, given in value.items() if isinstance(value, dict) else ():
            if name not in cls.model_fields:
                known = cls.model_fields
                hint = f"{suggest(str(name), known)} Known here: {quote_names(known)}"
                raise PydanticCustomError(UNKNOWN_KEY, "{hint}", {"name": str(name), "hint": hint})
            annotation = cls.model_fields[name].annotation
            kinds = {annotation, *get_args(annotation)}
            if isinstance(given, bool) and {int, float} & kinds and bool not in kinds:
                raise ValueError(f"{name}: found {str(given).lower()}, a switch; wanted a number")
        return value


def require_plain_names(kind: str) -> AfterValidator:
    """A validator for mappings whose keys become names of files or folders: no key may lead to
    another folder, nor to that of another key on a disk that ignores the case of letters.
    """

    def require_plain(mapping: dict[str, Any]) -> dict[str, Any]:
        """The mapping itself; `ValueError` for the first key that is not allowed."""
        names_in_lower_case: dict[str, str] = {}
        for name in mapping:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
                raise ValueError(
                    f"{kind} name {name!r}: wanted letters, digits, '_' and '-' only, at most 64"
                )
            other = names_in_lower_case.setdefault(name.lower(), name)
            if other != name:
                raise ValueError(
                    f"{kind} names {other!r} and {name!r} differ only in case; wanted other names,"
                    " since some disks take them for one"
                )
        return mapping

    return AfterValidator(require_plain)


def _require_each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values themselves; `ValueError` where one is repeated."""
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise ValueError(f"{quote_names(repeated)} stands twice; wanted each once")
    return values


EACH_ONCE = AfterValidator(_require_each_once)
"""A validator for lists without repeated values."""
ONE_OR_MANY = BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,))
"""A validator for lists that may be written as their only value."""
ConfigT = TypeVar("ConfigT", bound=BaseModel)


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeyLoader(_SafeLoader):
    """A safe YAML loader that refuses repeated keys and dates without quotes."""

    def construct_yaml_timestamp(self, node: yaml.ScalarNode) -> Any:
        """Refuses a date without quotes."""
        raise yaml.constructor.ConstructorError(
            None,
            None,
            f"the date {node.value} stands without quotes, which DVC cannot track; write"
            f" '{node.value}'",
            node.start_mark,
        )

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping with distinct scalar keys; anything else is refused with its line."""
        keys: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is a list or a mapping; wanted a name", key_node.start_mark
                )
            if key_node.tag == "tag:yaml.org,2002:bool":
                key_node.tag = "tag:yaml.org,2002:str"  # YAML reads `on`, a key of hooks, as true
            key = self.construct_object(key_node, deep=deep)
            if key in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", key_node.start_mark
                )
            keys.add(key)
        return super().construct_mapping(node, deep)


_UniqueKeyLoader.add_constructor(
    "tag:yaml.org,2002:timestamp", _UniqueKeyLoader.construct_yaml_timestamp
)


def _require_shallow(text: str) -> None:
    """Refuses text nested deeper than `MAX_DEPTH`, with the line; the loader is recursive, and deep
    nesting would end the process.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(
                f"more than {MAX_DEPTH} lists and mappings stand in each other; wanted at most so"
                f" many. Close brackets or take out indentation before the place{event.start_mark}"
            )


@lru_cache(maxsize=16)
def _parse(text: str) -> Any:
    """The content of a YAML text. Kept, since a process reads the same few files again and again:
    the catalogue of models is read twice by a fit and takes 30 ms to parse.
    """
    _require_shallow(text)
    return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506  (a safe loader)


def read_yaml(path: Path | str) -> Any:
    """The parsed file; `InputError` naming file and line where it cannot be read."""
    target = Path(path)
    try:
        return deepcopy(_parse(target.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(
            f"{target}: no such file. Run from the project's root, restore it from git, or begin"
            " with an example of configs/examples."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{target}: cannot be read ({error}). Check the file and its permissions."
        ) from error
    except yaml.YAMLError as error:
        reason = one_line(error).replace('in "<unicode string>", ', "in ")
        raise InputError(f"{target}: not valid YAML. {reason}") from error


def load_config(model: type[ConfigT], path: Path | str) -> ConfigT:
    """The file as `model`; `InputError` naming the file and every wrong key."""
    return validate_config(model, read_yaml(path), where=str(path))


def validate_config(
    model: type[ConfigT], content: Any, *, where: str, context: Any = None
) -> ConfigT:
    """`content` as `model`; `InputError` with `where` and every wrong key, found and wanted."""
    if not isinstance(content, dict):
        raise InputError(
            f"{where}: found {type(content).__name__}, wanted a mapping of keys to values."
        )
    try:
        return model.model_validate(content, context=context)
    except ValidationError as error:
        # pydantic also reports a list as too short where its items are wrong
        faults = [
            fault
            for fault in error.errors()
            if fault["type"] != "too_short" or len(fault["input"]) < fault["ctx"]["min_length"]
        ]
        raise InputError(
            f"{where}: " + "; ".join(_describe_fault(fault, content) for fault in faults)
        ) from None


def _describe_fault(error: Any, content: Any) -> str:
    """One error of pydantic as a clause: the key in the file, what was found and wanted; for an
    unknown key the nearest known one.
    """
    keys = _location_in_file(error["loc"], content, missing=error["type"] == "missing")
    if error["type"] == UNKNOWN_KEY:
        key = ".".join([*keys, error["ctx"]["name"]])
        return f"unknown key {key!r}.{error['msg']}"
    key = ".".join(keys)
    if error["type"] == "missing":
        return f"key {key!r} is missing"
    message = error["msg"].removeprefix("Value error, ").removesuffix(".")
    if error["type"] in WANTED:
        message = WANTED[error["type"]].format(**error.get("ctx", {}))
    elif error["type"] == "literal_error":
        names = re.findall("'([^']+)'", error["ctx"]["expected"])
        if hint := suggest(str(error["input"]), names):
            message += f".{hint}"
    input_value = error["input"]
    values = input_value if isinstance(input_value, list | tuple) else (input_value,)
    is_named = any(isinstance(value, str) and repr(value) in message for value in values)
    if not key or is_named or isinstance(input_value, dict):
        return f"key {key!r}: {message}" if key else message
    return f"key {key!r}: {message} (found {hide_addresses(repr(input_value))})"


def _location_in_file(location: tuple[Any, ...], content: Any, *, missing: bool) -> list[str]:
    """The keys that lead to the error, without the names of alternatives that pydantic adds."""
    keys = []
    for number, part in enumerate(location):
        in_list = (
            isinstance(content, list | tuple) and isinstance(part, int) and part < len(content)
        )
        if in_list or (isinstance(content, dict) and part in content):
            content = content[part]
            keys.append(str(part))
        elif missing and number == len(location) - 1:
            keys.append(str(part))
    return keys
