"""Forks a process that has the libraries for every program that a `warm_client` asks for, until the
session of the tests ends: `python warm_server.py FOLDER SESSION LIBRARY ... [--networks LIBRARY ...
--dvc LIBRARY ...] [--code PACKAGE]`.

What needs no network is forked from a second process, which has what follows `--dvc` in the place
of what follows `--networks`: TensorFlow makes a fork and its end twice as dear. Forked with what
DVC imports, the schedulers of a cluster no longer answer.

Programs with the same code as PACKAGE, the folder of our own, are forked from two more, which have
its modules, too. To import them takes up to half a second, more than most of these programs do.
Left out is what imports TensorFlow or numba, sets up a library or reads the environment on import.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import importlib
import json
import os
import resource
import runpy
import selectors
import shutil
import signal
import socket
import sys
import threading
import traceback
import types
from pathlib import Path
from typing import Any, NoReturn

import mlflow_tables  # beside this file, as the next one
from warm_client import WITH_CODE, WITHOUT_NETWORKS, write_code_list

READ = selectors.EVENT_READ
STANDARD_STREAMS = (0, 1, 2)
AT_EXIT = (
    "logging.shutdown",
    "multiprocessing.util._exit_function",
    "mlflow.tracking.fluent._safe_end_run",
)
"""What the libraries have a program do when it ends."""
IMPORTED_BY_PROGRAMS = ("tensorflow", "keras", "numba")
"""Libraries without which our modules are imported ahead; those that need them are not."""
NOT_AHEAD = ("forecast.networks.native", "forecast.operations.refit", "forecast.tracking.served")
"""What reads the environment, a program, what tells MLflow of a model."""


def open_door(place: str) -> socket.socket:
    """Where clients ask; who comes before the server waits there."""
    door = socket.socket(socket.AF_UNIX)
    door.bind(place)
    door.listen(64)
    return door


def serve(door: socket.socket, folder: str, session: int) -> dict[str, Any]:
    """The request of one client, in the process that has been forked for it; the server itself
    ends with the process `session`.
    """
    if os.fork():
        os._exit(0)  # whoever started the server knows from this that it is there
    end_of_session = os.pidfd_open(session)
    waiting = selectors.DefaultSelector()
    waiting.register(door, READ)
    waiting.register(end_of_session, READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is door:
                client, _ = door.accept()
                request, streams = receive(client)
                process = os.fork()
                if not process:
                    leave(waiting)
                    take_streams(streams)
                    return request
                for stream in streams:
                    os.close(stream)
                waiting.register(os.pidfd_open(process), READ, (process, client))
                waiting.register(client, READ, process)
            elif key.fileobj == end_of_session:
                end_programs(waiting)
                shutil.rmtree(folder, ignore_errors=True)
                sys.exit()
            elif isinstance(key.fileobj, socket.socket):
                pass_signal_on(key.fileobj, key.data, waiting)
            else:
                answer(key, waiting)


def leave(waiting: selectors.BaseSelector) -> None:
    """Close what the server waits for: a selector is a cycle of references, and when that is found
    the numbers of its descriptors may be those of other files.
    """
    for key in [*waiting.get_map().values()]:
        if isinstance(key.fileobj, socket.socket):
            key.fileobj.close()
    waiting.close()


def receive(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What is asked for, and the descriptors of its standard streams."""
    _, streams, _, _ = socket.recv_fds(client, 1, len(STANDARD_STREAMS))
    content = b""
    while not content.endswith(b"\n"):
        content += client.recv(65536)
    return json.loads(content), streams


def take_streams(streams: list[int]) -> None:
    """Make them those of this process, and keep no other descriptor of the server."""
    for number, stream in zip(STANDARD_STREAMS, streams, strict=True):
        os.dup2(stream, number)
    os.closerange(3, 4096)


def pass_signal_on(client: socket.socket, process: int, waiting: selectors.BaseSelector) -> None:
    """To the program and, as from a terminal, to all that it started; a client that is gone was
    killed. Nothing for one that was answered a moment ago, in the same round of events.
    """
    if client.fileno() < 0:
        return
    sent = client.recv(1)
    if not sent:
        waiting.unregister(client)
    number = sent[0] if sent else signal.SIGKILL
    with contextlib.suppress(ProcessLookupError):  # it ends just now
        if number == signal.SIGTERM or os.getpgid(process) != process:
            os.kill(process, number)  # it may have no group of its own yet
        else:
            os.killpg(process, number)


def end_programs(waiting: selectors.BaseSelector) -> None:
    """Kill what is running when the session has ended, as by a signal: a worker would finish its
    test.
    """
    for key in waiting.get_map().values():
        if isinstance(key.data, tuple):
            with contextlib.suppress(ProcessLookupError):  # it ends just now
                os.kill(key.data[0], signal.SIGKILL)


def answer(key: selectors.SelectorKey, waiting: selectors.BaseSelector) -> None:
    """Tell the client how its program has ended."""
    process, client = key.data
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    waiting.unregister(key.fileobj)
    os.close(key.fileobj)
    if client in waiting.get_map():
        waiting.unregister(client)
        with contextlib.suppress(OSError):  # killed just now
            client.sendall(b"%d" % code)
    client.close()


def become(request: dict[str, Any]) -> None:
    """This process as that of an interpreter which has just been started."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    resource.setrlimit(resource.RLIMIT_FSIZE, request["file_size"])
    sys.executable = request["python"]
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # a library has wrapped them
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
    # but for these nothing is left to its exit: TensorFlow would be taken apart for a second
    atexit._clear()
    for name in AT_EXIT:
        module, _, function = name.rpartition(".")
        atexit.register(getattr(importlib.import_module(module), function))
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()  # as at its import; `random` does that after a fork
    if "numba" in sys.modules:
        importlib.import_module("numba.core.config").reload_config()


def run(words: list[str]) -> int | str | None:
    """What `python words...` ends with, as `SystemExit` has it."""
    option, program, *arguments = words
    sys.path[0] = str(Path.cwd()) if option == "-m" else ""
    sys.argv = [option, *arguments]
    try:
        if option == "-c":
            # what it starts by `multiprocessing` would import the file of this server otherwise
            sys.modules["__main__"] = types.ModuleType("__main__")
            exec(program, vars(sys.modules["__main__"]))
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code
    except KeyboardInterrupt:
        traceback.print_exc()
        return -signal.SIGINT
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(code: int | str | None) -> NoReturn:
    """This process as an interpreter ends, but for taking its modules apart."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if code is not None and code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code or 0)


def import_all(libraries: list[str]) -> None:
    for library in libraries:
        importlib.import_module(library)


def load_types_of_numba() -> None:
    """What a program would load for its first function from the files of numba: with the import
    .4 CPU seconds.
    """
    registry = importlib.import_module("numba.core.registry")
    registry.cpu_target.target_context.refresh()
    registry.cpu_target.typing_context.refresh()


def import_code(package: Path) -> None:
    """Import the modules of our package that need none of `IMPORTED_BY_PROGRAMS`."""
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # as `forecast` sets it
    sys.path.insert(0, str(package.parent))
    hidden = {name: sys.modules.get(name) for name in IMPORTED_BY_PROGRAMS}
    sys.modules.update(dict.fromkeys(hidden))  # with None an import of it fails
    for path in sorted(package.rglob("*.py")):
        words = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(words).removesuffix(".__init__")
        if not name.startswith(NOT_AHEAD) and path.name != "__main__.py":
            with contextlib.suppress(Exception):  # the program that needs it says so
                importlib.import_module(name)
    del sys.path[0]
    for name, module in hidden.items():
        if module is None:
            del sys.modules[name]
        else:
            sys.modules[name] = module


def move_code(source: Path, target: Path, functions: list[types.FunctionType]) -> None:
    """Make the imported modules of the package `source` those of its copy `target`: where they are
    looked for, and the paths that they have worked out from that, also as defaults of `functions`.
    """

    def moved(place: Any) -> Any:
        text = str(place)
        if text == str(source.parent):
            return type(place)(target.parent)
        if text == str(source) or text.startswith(f"{source}/"):
            return type(place)(f"{target}{text.removeprefix(str(source))}")
        return place

    for name, module in sys.modules.items():
        if name.partition(".")[0] != source.name:
            continue
        for key, value in vars(module).items():
            if isinstance(value, str | Path):
                setattr(module, key, moved(value))
        if hasattr(module, "__path__"):
            module.__path__[:] = map(moved, module.__path__)
        spec = module.__spec__
        spec.origin = spec.loader.path = module.__file__
        spec.cached = module.__cached__
    for function in functions:
        function.__defaults__ = tuple(
            moved(value) if isinstance(value, Path) else value for value in function.__defaults__
        )


def functions_with_paths() -> list[types.FunctionType]:
    """Those that have a path as a default, which was worked out when they were defined."""
    return [
        function
        for function in gc.get_objects()
        if isinstance(function, types.FunctionType)
        and any(isinstance(value, Path) for value in function.__defaults__ or ())
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("session", type=int)
    parser.add_argument("libraries", nargs="*")
    parser.add_argument("--networks", nargs="*", default=[])
    parser.add_argument("--dvc", nargs="*", default=[])
    parser.add_argument("--code")
    options = parser.parse_args()
    import_all(options.libraries)
    mlflow_tables.copy_tables_from_the_first_database(options.folder / "tables.db")
    kinds = [""]
    if options.networks:
        kinds.append(WITHOUT_NETWORKS)
    if options.code:
        write_code_list(options.code, str(options.folder))
        kinds += [kind + WITH_CODE for kind in kinds]
    doors = {kind: open_door(f"{options.folder}/door{kind}") for kind in kinds}
    kind = ""
    if options.networks:
        if os.fork():
            import_all(options.networks)
            load_types_of_numba()
        else:
            kind = WITHOUT_NETWORKS
            import_all(options.dvc)
    if options.code and not os.fork():
        kind += WITH_CODE
        import_code(Path(options.code))
        functions = functions_with_paths()
    for other in doors.keys() - {kind}:
        doors[other].close()
    request = serve(doors[kind], str(options.folder), options.session)
    become(request)
    if request["package"]:
        move_code(Path(options.code), Path(request["package"]), functions)
    end(run(request["words"]))


if __name__ == "__main__":
    main()
