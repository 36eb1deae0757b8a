"""Commands that messages of the package advise."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import typer
from typer._click.exceptions import ClickException, MissingParameter

import forecast
from forecast.cli import app

PACKAGE = Path(forecast.__file__).parent
COMMANDS = typer.main.get_command(app)


def message_texts(path: Path) -> Iterator[str]:
    """The texts of a module but its docstrings; a value that is put in while the program runs is
    `1`, which is a name as well as a number.
    """
    nodes = list(ast.walk(ast.parse(path.read_text())))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(filled_in(part).value) for part in node.values)
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield str(node.value)


def filled_in(part: ast.expr) -> ast.Constant:
    return part if isinstance(part, ast.Constant) else ast.Constant("1")


def refuse(command: str) -> str:
    """What the command line has against `command`; nothing where only a name is left out, as where
    a sentence names the command alone.
    """
    try:
        name, command_class, rest = COMMANDS.resolve_command(
            typer.Context(COMMANDS), shlex.split(command)
        )
        command_class.make_context(name, rest)
    except MissingParameter:
        return ""
    except ClickException as fault:
        return fault.format_message()
    return ""


def test_every_command_that_a_message_advises_can_be_typed():
    advised = {
        command.replace(" N", " 1")
        for path in PACKAGE.rglob("*.py")
        for text in message_texts(path)
        for command in re.findall(r"`forecast ([a-z][^`]*)`", text)
    }
    assert len(advised) > 20
    assert {command: refuse(command) for command in advised if refuse(command)} == {}
