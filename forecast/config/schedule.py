"""configs/schedule.yaml: which commands `forecast schedule run` starts, and when."""

from __future__ import annotations

import re
from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator

from forecast.config.reading import Config, load, require_plain_names
from forecast.config.task import Weekday
from forecast.system.errors import closest

DAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
COMMANDS = ("retrain", "fetch", "predict", "status", "check", "run", "sync")


class Job(Config):
    """One command at fixed times of fixed days.

    run: the words after `forecast`; at: times of day `HH:MM` in `time_zone`; jitter_minutes: each run is put off by up
    to that much, so that many machines do not ask a service at once; timeout_minutes: then the command is ended.
    """

    run: tuple[str, ...] = Field(min_length=1)
    at: tuple[str, ...] = Field(min_length=1)
    days: tuple[Weekday, ...] = Field(DAYS, min_length=1)
    time_zone: str = "UTC"
    jitter_minutes: float = Field(0.0, ge=0, lt=720)
    timeout_minutes: float = Field(120.0, gt=0)

    @field_validator("run", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("run")
    @classmethod
    def _known_command(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value[0] not in COMMANDS:
            raise ValueError(
                f"unknown command {value[0]!r}.{closest(value[0], COMMANDS)} Wanted one of {', '.join(COMMANDS)}"
            )
        return value

    @field_validator("at", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        given = value if isinstance(value, list | tuple) else [value]
        # YAML 1.1 reads 15:30 as the number 930, in base 60.
        if any(isinstance(part, int) for part in given):
            raise ValueError('a time stands without quotes, which YAML reads as a number; write "15:30"')
        return tuple(given)

    @field_validator("at")
    @classmethod
    def _times(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
                raise ValueError(f"{text!r} is no time of day; wanted HH:MM such as 05:30")
        return tuple(sorted(set(value)))

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        known = available_timezones()
        if value not in known:
            raise ValueError(f"unknown time zone.{closest(value, known)} Wanted an IANA name such as Europe/Dublin")
        return value

    @property
    def times(self) -> tuple[time, ...]:
        return tuple(time.fromisoformat(text) for text in self.at)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class Schedule(Config):
    """Jobs by name; a name becomes a file name."""

    jobs: dict[str, Job] = Field(min_length=1)

    @field_validator("jobs")
    @classmethod
    def _names_are_plain(cls, value: dict[str, Job]) -> dict[str, Job]:
        require_plain_names(value, "job")
        return value


def load_schedule(folder: Path | str = "configs") -> Schedule:
    return load(Schedule, Path(folder) / "schedule.yaml")
