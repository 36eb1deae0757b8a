"""Daily bars of Yahoo! Finance through yfinance, for personal use.

Yahoo's quotes are divided by every later split. The stored prices are those that were traded:
splits, which the answer contains, are multiplied back in, so that a later split changes no stored
row. `data.columns.adjust_prices` applies splits and dividends afterwards. yfinance gets an HTTP
session that reaches only Yahoo's hosts, checks redirects, and is bounded in size and time.

`read` returns one row per session in the quote's currency, cut at `as_of`; `Settings` checks the
entry.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import re
import shutil
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urljoin, urlsplit, urlunsplit

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from forecast.config.paths import ProjectPaths
from forecast.config.reading import EACH_ONCE
from forecast.config.sources import Adjustment, RemoteSource, Url
from forecast.data.calendars import known_from
from forecast.data.records import SnapshotRecord
from forecast.data.sources import RawFrame, Request, keep_known
from forecast.data.web import (
    MAX_BYTES,
    Deadline,
    TransientError,
    parse_retry_after,
)
from forecast.system.errors import DataError, InputError

BAR_COLUMNS = {"Open": "open", "High": "high", "Low": "low", "Close": "close", "Volume": "volume"}
ACTION_COLUMNS = {"Dividends": "dividend", "Stock Splits": "split"}
REQUEST_TIMEOUT_S = 15.0
MAX_REDIRECTS = 5
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
YAHOO = "https://query2.finance.yahoo.com"
SETTLING_TIME = pd.Timedelta(1, "h")
"""For so long after the close the price may differ from the exchange's official one."""


class Settings(RemoteSource):
    """Daily bars through yfinance, for personal use. Stored unadjusted, with splits and dividends.

    The newest session is the last one closed; its price is provisional within an hour of the close.
    `adjust`: how stage `prepare` adjusts prices. `max_failed`: the share of tickers that may fail;
    beyond it nothing is stored.
    """

    is_for_personal_use: ClassVar[bool] = True
    kind: Literal["yahoo"]
    tickers: Annotated[tuple[str, ...], EACH_ONCE] = Field(min_length=1)
    adjust: Adjustment = "splits_and_dividends"
    max_failed: float = Field(0.2, ge=0.0, lt=1.0)
    base_url: Url = YAHOO

    @field_validator("tickers")
    @classmethod
    def _are_tickers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Refuses tickers with other characters than Yahoo's, which could change the request."""
        for ticker in value:
            if not re.fullmatch(r"[A-Z0-9^][A-Z0-9.^=-]{0,19}", ticker):
                raise ValueError(
                    f"ticker {ticker!r}: wanted capitals, digits and . ^ = - such as MSFT or ^VIX"
                )
        return value

    @property
    def series(self) -> tuple[str, ...]:
        """The tickers."""
        return self.tickers

    @property
    def adjustment(self) -> Adjustment:
        """What `adjust` says."""
        return self.adjust

    def narrowed_to(self, revised: Collection[str]) -> Settings | None:
        """The source with the revised tickers alone; None where it has none of them."""
        tickers = tuple(ticker for ticker in self.tickers if ticker in revised)
        return self.model_copy(update={"tickers": tickers}) if tickers else None


def read(request: Request) -> RawFrame:
    """The sessions of every ticker up to `request.as_of`; the newest may be provisional. Tickers
    that fail are named in the answer; `DataError` where they are more than `max_failed`, or all.
    """
    source = request.dataset.source
    assert isinstance(source, Settings) and request.as_of is not None
    deadline = request.deadline or Deadline(source.deadline_s)
    client = _Client(source, deadline, ProjectPaths.of(request.root).state / "yfinance")
    frames, failed = [], {}
    for ticker in source.tickers:
        try:
            frames.append(
                client.history(ticker, request.first_time(ticker, source.start), request.as_of)
            )
        except DataError as error:
            failed[ticker] = str(error)
            most = source.max_failed * len(source.tickers)
            # the other tickers would be retried as often
            if len(failed) > most and isinstance(error.__cause__, TransientError):
                break
        request.advance(ticker)
    if len(failed) > source.max_failed * len(source.tickers) or not frames:
        counted = f"{len(failed)} of {len(source.tickers)} tickers failed"
        raise DataError(f"{counted}, more than `max_failed` allows: {' '.join(failed.values())}")
    frame, as_of = keep_known(request, pd.concat(frames, ignore_index=True))
    late = frame["ds"][known_from(request.dataset.calendar, frame["ds"]) > as_of - SETTLING_TIME]
    return RawFrame(
        frame,
        as_of,
        where=f"Yahoo, dataset {request.name!r}",
        provenance=_provenance(source),
        failed=failed,
        provisional_from=late.min() if len(late) else None,
    )


class _Client:
    """yfinance with a guarded session; its faults become `TransientError` or `DataError`."""

    def __init__(self, source: Settings, deadline: Deadline, cache: Path) -> None:
        """cache: a folder for yfinance's time zones and cookies. `InputError` without yfinance."""
        if importlib.util.find_spec("yfinance") is None:
            raise InputError(
                "A source of kind `yahoo` needs yfinance, which is not installed. Install it:"
                " `pip install 'rolling-forecast[pipeline]'`, in a clone `make setup`."
            )
        import yfinance

        yfinance.config.debug.hide_exceptions = False
        logging.getLogger("yfinance").setLevel(logging.CRITICAL)  # our errors report its faults
        self.deadline = deadline
        self.session = guarded_session(source.base_url, deadline)
        self.cache = cache
        self._open_cache()

    def _open_cache(self) -> None:
        """Make `cache` the cache of yfinance, even where another was opened in this process."""
        import yfinance

        self.cache.mkdir(parents=True, exist_ok=True)
        yfinance.set_tz_cache_location(str(self.cache))
        # else yfinance keeps the first folder of the process, even where that has been deleted
        yfinance.cache._TzCacheManager._initialise()
        yfinance.cache._CookieCacheManager._initialise()

    def history(self, ticker: str, first: pd.Timestamp, as_of: pd.Timestamp) -> pd.DataFrame:
        """The long rows of one ticker as traded, from `first` on; `DataError` naming the ticker.
        They are not cut at `as_of`, which says only how far is asked.
        """
        what = f"Yahoo, ticker {ticker!r}"
        bars = self.deadline.call_with_retries(
            what, lambda: self._attempt(ticker, first, as_of, what)
        )
        traded = undo_splits(_bars_to_frame(bars, ticker, what))
        return traded[traded["ds"] >= first]

    def _attempt(
        self, ticker: str, first: pd.Timestamp, as_of: pd.Timestamp, what: str
    ) -> pd.DataFrame:
        """One attempt to get the bars of a ticker. Raises `TransientError` for what may pass,
        `DataError` for what will not. A broken cache of yfinance is deleted and made anew.
        """
        import yfinance
        from curl_cffi.requests.exceptions import ConnectionError as Unreachable
        from curl_cffi.requests.exceptions import RequestException
        from peewee import PeeweeException
        from yfinance.data import YfData
        from yfinance.exceptions import YFException, YFRateLimitError, YFTickerMissingError

        # yfinance caches failed answers too, so a retry would get the same failure
        YfData.cache_get.cache_clear()
        # reset what the ticker before has left
        self.session.chart_status, self.session.retry_after = 0, None
        # up to tomorrow rather than `as_of`: quotes are divided by all splits up to today
        end = max(as_of, pd.Timestamp.now("UTC").tz_localize(None).normalize()) + pd.Timedelta(
            2, "D"
        )
        try:
            with warnings.catch_warnings():
                # yfinance 1.7 uses what pandas 3.1 deprecates
                warnings.simplefilter("ignore", category=DeprecationWarning)
                return yfinance.Ticker(ticker, session=self.session).history(
                    start=f"{first:%Y-%m-%d}",
                    end=f"{end:%Y-%m-%d}",
                    auto_adjust=False,
                    timeout=REQUEST_TIMEOUT_S,
                )
        except PeeweeException as error:
            # a broken cache of time zones costs one more request per ticker
            shutil.rmtree(self.cache, ignore_errors=True)
            self._open_cache()
            raise TransientError(
                f"could not be asked: yfinance's cache {self.cache} was broken ({error})"
            ) from None
        except YFRateLimitError:
            raise TransientError(
                "answered 429 (too many requests)", self.session.retry_after
            ) from None
        except YFTickerMissingError as error:
            raise self._classify_missing(what, error) from None
        except Unreachable as error:
            raise TransientError(f"cannot be reached ({type(error).__name__})") from None
        except (YFException, RequestException, ValueError) as error:
            if self.session.chart_status in (400, 404):
                raise self._classify_missing(what, error) from None
            raise TransientError(f"gave no usable answer ({type(error).__name__})") from None
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise DataError(
                f"{what}: the answer is empty or not in the known shape ({type(error).__name__}:"
                f" {error}). If this lasts, look for a newer yfinance."
            ) from None

    def _classify_missing(self, what: str, error: Exception) -> Exception:
        """The error for a ticker that yfinance reports as missing, which it does after any failed
        request.
        """
        if self.session.chart_status >= 500 or self.session.chart_status == 429:
            return TransientError(f"answered {self.session.chart_status}", self.session.retry_after)
        reason = str(error).rpartition("; ")[2].rpartition(": ")[2]
        return DataError(
            f"{what}: no prices ({reason}). Delisted, misspelt, or not traded in that time?"
        )


def guarded_session(base_url: str, deadline: Deadline, *, max_bytes: int = MAX_BYTES) -> Any:
    """A curl_cffi session that keeps to the deadline and refuses other hosts (`direct_url`) and
    answers of more than `max_bytes`. Where `base_url` is another host, requests for Yahoo go there.
    """
    from curl_cffi import CurlOpt
    from curl_cffi.requests import Session

    class Guarded(Session):  # type: ignore[misc]
        """chart_status, retry_after: the status, and the seconds or None, of the last answer about
        prices, which yfinance hides.
        """

        chart_status = 0
        retry_after: float | None = None

        def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            """A request that follows redirects after checking each; `DataError` for too many."""
            for _ in range(MAX_REDIRECTS + 1):
                response = self._once(method, url, *args, **kwargs)
                target = response.headers.get("location")
                if response.status_code not in REDIRECT_STATUSES or not target:
                    return response
                url, method = urljoin(url, target), "GET"
                kwargs.pop("params", None)
            raise DataError(f"Yahoo redirected more than {MAX_REDIRECTS} times.")

        def _once(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            """One request without redirects, within the deadline; `DataError` for a too large
            answer.
            """
            requested = kwargs.get("timeout")
            timeout = float(requested) if isinstance(requested, int | float) else 30.0
            # for curl a single number bounds the whole transfer
            kwargs |= {
                "timeout": max(min(timeout, deadline.seconds_left()), 0.05),
                "allow_redirects": False,
            }
            response = super().request(method, direct_url(url, base_url), *args, **kwargs)
            if "/finance/chart/" in url:
                self.chart_status = response.status_code
                self.retry_after = parse_retry_after(dict(response.headers))
            if len(response.content) > max_bytes:
                raise DataError(
                    f"Yahoo's answer is larger than {max_bytes:,} bytes. Ask for fewer years."
                )
            return response

    return Guarded(impersonate="chrome", curl_options={CurlOpt.MAXFILESIZE_LARGE: max_bytes})


def direct_url(url: str, base_url: str) -> str:
    """`url` for Yahoo's own hosts over https, or moved to `base_url`; `DataError` for any other
    host.
    """
    parts, base = urlsplit(url), urlsplit(base_url)
    host = parts.hostname or ""
    yahoo = parts.scheme == "https" and (host == "yahoo.com" or host.endswith(".yahoo.com"))
    if base_url == YAHOO and yahoo:
        return url
    if base_url != YAHOO and (yahoo or parts.netloc == base.netloc):
        return urlunsplit((base.scheme, base.netloc, parts.path, parts.query, ""))
    raise DataError(
        f"Yahoo led to {parts.scheme}://{host}, which is not configured. Nothing was taken from"
        " there."
    )


def _bars_to_frame(bars: pd.DataFrame, ticker: str, what: str) -> pd.DataFrame:
    """The long rows of a ticker from yfinance's table; `DataError` where columns were renamed or it
    is empty.
    """
    absent = [name for name in (*BAR_COLUMNS, *ACTION_COLUMNS) if name not in bars.columns]
    if absent:
        raise DataError(
            f"{what}: the answer lacks {absent}; Yahoo or yfinance has renamed it. Nothing was"
            " taken."
        )
    if bars.empty:
        raise DataError(f"{what}: no prices in the time asked for.")
    # A session is named by its local date.
    days = pd.DatetimeIndex(bars.index).tz_localize(None).normalize().as_unit("ns")
    frame = pd.DataFrame({"unique_id": ticker, "ds": days})
    for theirs, ours in {**BAR_COLUMNS, **ACTION_COLUMNS}.items():
        frame[ours] = bars[theirs].to_numpy(dtype=np.float64)
    # yfinance fills missing volumes with 0
    frame["volume"] = frame["volume"].where(frame["volume"] > 0)
    return frame.sort_values("ds", kind="stable", ignore_index=True)


def undo_splits(frame: pd.DataFrame) -> pd.DataFrame:
    """The bars of one series as traded: prices and dividends multiplied by all later splits of the
    same answer, volume divided by them; `split` 0 becomes 1.
    """
    ratio = frame["split"].where(frame["split"] > 0, 1.0)
    later_splits = ratio[::-1].cumprod()[::-1] / ratio
    prices = ["open", "high", "low", "close", "dividend"]
    traded = frame.assign(split=ratio, volume=frame["volume"] / later_splits)
    traded[prices] = frame[prices].mul(later_splits, axis=0)
    return traded


def _provenance(source: Settings) -> SnapshotRecord:
    """The source's part of a snapshot's record."""
    return {
        "source": "yahoo",
        "parameters": {
            "base_url": source.base_url,
            "tickers": list(source.tickers),
            "start": source.start.isoformat(),
            "interval": "1d",
        },
        "adjustment": "none: as traded, with splits and dividends beside; adjusted in prepare",
        "library": {"yfinance": importlib.metadata.version("yfinance")},
        "terms": "for personal use under Yahoo's terms; not to be redistributed",
    }
