"""Forks a process that has the libraries for every program that a `warm_client` asks for, until the
session of the tests ends: `python warm_server.py FOLDER SESSION LIBRARY ... [--networks LIBRARY ...
--dvc LIBRARY ...]`.

What needs no network is forked from a second process, which has what follows `--dvc` in the place
of what follows `--networks`: TensorFlow makes a fork and its end twice as dear. Forked with what
DVC imports, the schedulers of a cluster no longer answer.
"""

from __future__ import annotations

import atexit
import contextlib
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

import mlflow_tables  # beside this file

READ = selectors.EVENT_READ
STANDARD_STREAMS = (0, 1, 2)
AT_EXIT = (
    "logging.shutdown",
    "multiprocessing.util._exit_function",
    "mlflow.tracking.fluent._safe_end_run",
)
"""What the libraries have a program do when it ends."""


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


if __name__ == "__main__":
    place, session_process, *names = sys.argv[1:]
    places = [names.index(option) for option in ("--networks", "--dvc") if option in names]
    end_of_all, end_of_networks = places or (len(names), len(names))
    import_all(names[:end_of_all])
    mlflow_tables.copy_tables_from_the_first_database(Path(place) / "tables.db")
    own_door = open_door(f"{place}/door")
    if places:
        second_door = open_door(f"{place}/door-without-networks")
        if os.fork():
            second_door.close()
            import_all(names[end_of_all + 1 : end_of_networks])
        else:
            own_door.close()
            own_door = second_door
            import_all(names[end_of_networks + 1 :])
    asked_for = serve(own_door, place, int(session_process))
    become(asked_for)
    end(run(asked_for["words"]))
