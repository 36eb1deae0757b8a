"""The HTTP session given to yfinance: its hosts only, redirects checked, size bounded, never past the deadline."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from forecast.data.sources.patience import Patience, retry_after
from forecast.data.sources.web import MAX_BYTES, MAX_REDIRECTS, REDIRECTS
from forecast.system.errors import DataError

YAHOO = "https://query2.finance.yahoo.com"


def guarded_session(base_url: str, patience: Patience, *, max_bytes: int = MAX_BYTES) -> Any:
    """A curl_cffi session that sends every Yahoo host to `base_url` when that is not Yahoo itself."""
    from curl_cffi import CurlOpt
    from curl_cffi.requests import Session

    class Guarded(Session):  # type: ignore[misc]
        """`chart_status` and `retry_after` (seconds or None) of the last answer about prices: yfinance hides them."""

        chart_status = 0
        retry_after: float | None = None

        def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            for _ in range(MAX_REDIRECTS + 1):
                response = self._once(method, url, *args, **kwargs)
                target = response.headers.get("location")
                if response.status_code not in REDIRECTS or not target:
                    return response
                url, method = urljoin(url, target), "GET"
                kwargs.pop("params", None)
            raise DataError(f"Yahoo redirected more than {MAX_REDIRECTS} times.")

        def _once(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            asked = kwargs.get("timeout")
            wanted = float(asked) if isinstance(asked, int | float) else 30.0
            # curl's single number bounds the whole transfer, so a slow drip ends too.
            kwargs |= {"timeout": max(min(wanted, patience.left()), 0.05), "allow_redirects": False}
            response = super().request(method, directed(url, base_url), *args, **kwargs)
            if "/finance/chart/" in url:
                self.chart_status = response.status_code
                self.retry_after = retry_after(dict(response.headers))
            if len(response.content) > max_bytes:
                raise DataError(f"Yahoo's answer is larger than {max_bytes:,} bytes. Ask for fewer years.")
            return response

        def today(self) -> str:
            return time.strftime("%Y-%m-%d", time.gmtime())

    return Guarded(impersonate="chrome", curl_options={CurlOpt.MAXFILESIZE_LARGE: max_bytes})


def directed(url: str, base_url: str) -> str:
    """`url` itself for Yahoo's own hosts over https, or moved to `base_url`; `DataError` for any other host."""
    parts, base = urlsplit(url), urlsplit(base_url)
    host = parts.hostname or ""
    yahoo = parts.scheme == "https" and (host == "yahoo.com" or host.endswith(".yahoo.com"))
    if base_url == YAHOO and yahoo:
        return url
    if base_url != YAHOO and (yahoo or parts.netloc == base.netloc):
        return urlunsplit((base.scheme, base.netloc, parts.path, parts.query, ""))
    raise DataError(f"Yahoo led to {parts.scheme}://{host}, which is not configured. Nothing was taken from there.")
