"""JSON over HTTP from configured hosts only: redirects checked, size bounded, slow answers cut at the deadline."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from forecast.data.sources.patience import Patience, Transient, retry_after
from forecast.system.errors import DataError

MAX_BYTES = 64 * 1024 * 1024
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
CONNECT_S = 10.0
READ_S = 30.0
LATE = "did not answer in time: it was still sending at the deadline"


@dataclass(frozen=True)
class Answer:
    """`content`: the decoded body, complete."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """`Transient` when the body is no JSON: a maintenance page or a torn answer."""
        try:
            return json.loads(self.content)
        except ValueError:
            kind = self.headers.get("content-type", "no content type")
            raise Transient(f"answered with no JSON ({kind}, {len(self.content)} bytes)") from None


def check_host(url: str, hosts: Collection[str], what: str) -> None:
    """`DataError` unless `url` is http(s) to one of `hosts` (host or host:port)."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.netloc not in hosts:
        raise DataError(
            f"{what}: was sent to {parts.scheme}://{parts.hostname}, which is not configured. "
            "If the service has moved, set its new address in configs/datasets.yaml."
        )


def get(url: str, params: Mapping[str, str], *, patience: Patience, what: str, max_bytes: int = MAX_BYTES) -> Answer:
    """One GET, redirects followed within the host of `url`; never longer than `patience` has left.

    Raises `Transient` for what may pass (no connection, cut off, slow), `DataError` for what will not. No message
    contains the query, which may carry a key.
    """
    hosts = {urlsplit(url).netloc}
    target: httpx.URL = httpx.URL(url, params=dict(params))
    with httpx.Client(follow_redirects=False, trust_env=True) as client:
        for _ in range(MAX_REDIRECTS + 1):
            check_host(str(target), hosts, what)
            answer = _once(client, target, patience, what, max_bytes)
            if answer.status not in REDIRECTS or "location" not in answer.headers:
                return answer
            target = httpx.URL(urljoin(str(target), answer.headers["location"]))
    raise DataError(f"{what}: redirected more than {MAX_REDIRECTS} times. Check its address in configs/datasets.yaml.")


def _once(client: httpx.Client, url: httpx.URL, patience: Patience, what: str, max_bytes: int) -> Answer:
    left = max(patience.left(), 0.01)
    timeout = httpx.Timeout(min(READ_S, left), connect=min(CONNECT_S, left))
    # The timeouts bound each read; a header sent byte by byte would pass them for ever.
    watch = threading.Timer(left, client.close)
    watch.daemon = True
    watch.start()
    try:
        with client.stream("GET", url, timeout=timeout) as response:
            content = bytearray()
            for chunk in response.iter_bytes():  # as it arrives: a fixed size would wait until a slow drip fills it
                content += chunk
                if len(content) > max_bytes:
                    raise DataError(f"{what}: the answer is larger than {max_bytes:,} bytes. Ask for a shorter range.")
                if patience.left() <= 0:
                    raise Transient(LATE)
            return Answer(response.status_code, dict(response.headers), bytes(content))
    except httpx.TimeoutException:
        raise Transient("did not answer in time") from None
    except httpx.ConnectError as error:
        raise Transient(f"cannot be reached ({_reason(error)})") from None
    except httpx.HTTPError as error:
        late = patience.left() <= 0
        raise Transient(LATE if late else f"broke off its answer ({type(error).__name__})") from None
    finally:
        watch.cancel()


def _reason(error: Exception) -> str:
    """The system's words, without the URL."""
    return str(error).split("://")[0] or type(error).__name__


def waiting_time(answer: Answer) -> float | None:
    return retry_after(answer.headers)
