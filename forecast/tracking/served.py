"""`ServedForecaster`: the model as MLflow runs it (models from code), and the bounds that MLflow's
scoring server lacks. A copy of this file lies beside each logged model.

Input: the long frame (`unique_id, ds` in UTC, the dataset's prepared columns), at least `lookback`
rows per series. Parameters: `horizon` (0: as trained) and `levels` (percent, such as [80, 95]; none
unless asked, `forecaster.serving.DEFAULT_LEVELS`). Output: `unique_id, output, cutoff, step, ds,
y_hat` and `lo_80, hi_80` per level, in raw units. NumPy only, no TensorFlow. It needs an
environment in which this project is installed. Whatever is wrong with a request is one sentence and
status 400.

MLflow answers 504 after `MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT` seconds, and lets the request's
thread work on; a server that gets SIGTERM waits for that thread. It answers JSON that is nested
deeper than Python's stack, and numbers of thousands of digits, with 500 and a traceback in its log.
`bound_requests` wraps the server's functions where the model is loaded.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    DEADLINE_EXCEEDED,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
)
from mlflow.pyfunc import PythonModel

PARAMETERS = {"horizon", "levels"}
"""Of a request, as `Service.answer` takes them."""
MAX_REQUEST_BYTES = 100_000_000
"""Before it is parsed: half of a kilobyte for each of the most rows that are answered."""
GRACE_SECONDS = 5.0
"""From SIGTERM to the end of the process, where a request is at work."""
RETRY_SECONDS = 0.1


class ServedForecaster(PythonModel):
    """Forecasts the steps that follow the last row of every series."""

    def load_context(self, context: Any) -> None:
        """Load the saved forecaster that `context` names; called by MLflow."""
        from forecast.forecaster.serving import Service

        self.service = Service.load(Path(context.artifacts["forecaster"]))
        bound_requests(self.service.most_columns)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The forecast after the last rows of `model_input`; see above for `params`."""
        from forecast.forecaster.serving import advise_caller
        from forecast.system.errors import ForecastError

        try:
            return self.service.answer(model_input, **(params or {}))
        except ForecastError as error:
            # any other exception would reach the caller as a stack trace
            raise refusal(advise_caller(str(error))) from None
        except Exception:
            logging.getLogger(__name__).exception("The forecast failed")
            message = "The forecast failed; the server's log says why."
            raise MlflowException(message, error_code=INTERNAL_ERROR) from None


class OverdueError(BaseException):
    """Raised inside the thread of a request that works beyond its deadline.

    No `Exception`: code that goes on after an error of its own must not go on after this one.
    """


def bound_requests(most_columns: int) -> None:
    """Put the bounds around the scoring server of this process; nothing in another process."""
    server: Any = sys.modules.get("mlflow.pyfunc.scoring_server")
    if server is None or server._SERVER_MODEL_PATH not in os.environ:
        return
    seconds = float(server.MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get())
    answer = partial(answer_unchecked, server.invocations, most_columns)
    server.invocations = partial(answer_in_time, answer, seconds)
    server._decode_json_input = partial(decode_table, server._decode_json_input, most_columns)
    server._handle_serving_error = partial(server._handle_serving_error, include_traceback=False)
    end_with_requests_at_work()


def answer_unchecked(
    answer: Callable[..., Any],
    most_columns: int,
    data: bytes,
    content_type: str,
    model: Any,
    _schema: Any,
) -> Any:
    """`answer` to a table as it came: MLflow's check against the signature reads no CSV, and shows
    the whole table where it refuses one; `Service.answer` checks it in sentences.

    `MlflowException` with the sentence alone for every fault of the request, CSV of more columns
    than `most_columns` and Parquet among them.
    """
    kind = content_type.partition(";")[0].strip()
    if kind == "application/vnd.apache.parquet":
        raise refusal(
            "Parquet is not read: a small file can hold a table of any size. Send JSON or CSV."
        )
    if kind == "text/csv":
        require_narrow(data.partition(b"\n")[0].count(b",") + 1, most_columns)
    model.metadata.signature.inputs = None
    try:
        return answer(data, content_type, model, None)
    except MlflowException as error:
        # MLflow puts the parsed table before the sentence, and JSON that it cannot parse behind it
        error.message = error.message.rpartition("\nError: ")[2].partition("\nInput: ")[0]
        raise


def answer_in_time(answer: Callable[..., Any], seconds: float, data: bytes, *context: Any) -> Any:
    """`answer(data, *context)`, whose work ends after `seconds`; a `MlflowException` for a request
    that is too large, that nobody can parse or that takes longer.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise refusal(
            f"The request has {len(data):,} bytes, wanted at most {MAX_REQUEST_BYTES:,}. Send the"
            " newest rows."
        )
    try:
        return end_overdue_work(partial(answer, data, *context), seconds)
    except (RecursionError, ValueError):
        raise refusal(
            "The request's JSON is nested too deeply, or has a number of too many digits; wanted a"
            " table."
        ) from None
    except OverdueError:
        message = f"The request took longer than {seconds:g} seconds. Send fewer rows or series."
        raise MlflowException(message, error_code=DEADLINE_EXCEEDED) from None


def decode_table(
    decode: Callable[[Any], Any], most_columns: int, request: Any
) -> Mapping[str, Any]:
    """The decoded JSON; `MlflowException` for a table that pandas would make wide: of more columns
    than `most_columns`, or of records that name different ones; and for a parameter that is not one
    of `PARAMETERS`, which MLflow would drop without a word.
    """
    from forecast.system.errors import quote_names

    content: Mapping[str, Any] = decode(request)
    parameters = content.get("params")
    if isinstance(parameters, dict) and (unknown := parameters.keys() - PARAMETERS):
        raise refusal(
            f"Unknown in `params`: {quote_names(unknown)}. Known are `horizon` and `levels`."
        )
    table = content.get("dataframe_split")
    inputs = content.get("inputs")
    columns = table.get("columns") if isinstance(table, dict) else None
    if isinstance(inputs, dict):
        columns = inputs.keys()
    records = content.get("dataframe_records", content.get("instances"))
    if isinstance(records, list) and records and isinstance(records[0], dict):
        columns = records[0].keys()
        for row, record in enumerate(records):
            if isinstance(record, dict) and record.keys() != columns:
                raise refusal(
                    f"Records 0 and {row} of the request name different columns. Name every column"
                    " in every record, with null where a value is missing."
                )
    if columns is not None:
        require_narrow(len(columns), most_columns)
    return content


def require_narrow(n_columns: int, most: int) -> None:
    """`MlflowException` for more columns than `most`: pandas takes milliseconds for each."""
    if n_columns > most:
        raise refusal(
            f"The request has {n_columns:,} columns, wanted at most {most:,}. Send those of the"
            " model."
        )


def refusal(message: str) -> MlflowException:
    """What the server answers with status 400 and this sentence."""
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


def end_overdue_work(work: Callable[[], Any], seconds: float) -> Any:
    """The result of `work`; after `seconds` `OverdueError` is raised inside it, at the next step of
    Python: a single long call of a C library is waited for.
    """
    thread = ctypes.c_ulong(threading.get_ident())
    finished = threading.Event()

    def interrupt() -> None:
        """Raise in the thread that works, once the time is over, until it has ended."""
        wait = seconds
        # again and again: what is raised inside a destructor is printed and lost
        while not finished.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(OverdueError))
            wait = RETRY_SECONDS

    watcher = threading.Thread(target=interrupt, daemon=True)
    watcher.start()
    try:
        return work()
    finally:
        while not finished.is_set():
            try:
                finished.set()
                watcher.join()
                # what was raised and has not arrived would hit the thread's next request
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)
            except OverdueError:
                finished.clear()


def end_with_requests_at_work() -> None:
    """Let a server that was told to end do so within `GRACE_SECONDS`, whatever is at work."""
    import uvicorn

    server_class: Any = uvicorn.Server
    shut_down = server_class.shutdown

    async def shut_down_in_time(server: Any, sockets: Any = None) -> None:
        # Python itself waits for threads at its end, so nothing gentler ends the process
        timer = threading.Timer(GRACE_SECONDS, os._exit, [128 + signal.SIGTERM])
        timer.daemon = True
        timer.start()
        await shut_down(server, sockets)

    server_class.shutdown = shut_down_in_time


mlflow.models.set_model(ServedForecaster())
