"""What a search has before it: the list of steps that it is done from, and the time they take.

A `Step` makes one model. `Plan.doing` measures it and takes it off the list; `Plan.tell` announces
how long the steps that are left take, by what such steps took so far. Those that only may come are
planned with a smaller share, and put anew when more is known. Steps are measured in seconds of the
processor, and told by the clock, as the machine gave its time so far.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np

from forecast.identification.search_settings import Candidate

Work = Literal["begin", "train"]


@dataclass(frozen=True)
class Step:
    """A model to make, that of a candidate in a fold. `stage`: as announced; `share`: of the rows
    times iterations of this work in a fold.
    """

    stage: str
    work: Work
    candidate: Candidate
    fold: int
    share: float = 1.0


class Plan:
    """The `steps` that are left; `announce` is told how long they take."""

    def __init__(self, announce: Callable[[str], None] | None) -> None:
        """Nothing is planned; from now on the clock is compared with the processor."""
        self.announce = announce
        self.steps: list[Step] = []
        self._seconds: dict[tuple[Work, Candidate], list[float]] = defaultdict(list)
        self._least = np.inf
        self._clock = time.perf_counter()
        self._processor = time.thread_time()

    def put(self, stage: str, steps: Iterable[Step] = ()) -> None:
        """Plan these in the place of all that were planned for the stage."""
        self.steps = [step for step in self.steps if step.stage != stage] + list(steps)

    def drop(self, candidates: Collection[Candidate]) -> None:
        """Plan nothing more for these candidates."""
        self.steps = [step for step in self.steps if step.candidate not in candidates]

    def of(self, stage: str) -> list[Step]:
        """The steps of a stage that are left."""
        return [step for step in self.steps if step.stage == stage]

    @contextmanager
    def doing(self, step: Step) -> Iterator[None]:
        """A step, done and measured where this ends."""
        begin = time.thread_time()
        yield
        if step.share:
            seconds = (time.thread_time() - begin) / step.share
            self._seconds[step.work, step.candidate].append(seconds)
        self.steps.remove(step)

    def tell(self, stage: str) -> None:
        """Announce the seconds that are left after a stage, never more than before."""
        clock = time.perf_counter() - self._clock
        processor = time.thread_time() - self._processor
        if self.announce is not None and processor > 0:
            seconds = sum(map(self._expect, self.steps)) * clock / processor
            self._least = min(self._least, seconds)
            self.announce(f"{stage}: about {self._least:.1f} s more.")

    def _expect(self, step: Step) -> float:
        """Seconds of the processor, as such steps took so far."""
        return step.share * float(np.mean(self._seconds[step.work, step.candidate] or [0.0]))
