"""The sampler's work: when the probes are asked, and what becomes of their answers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ..journal import Journal, scan
from ..limits import (
    FIRST_SAMPLE_SECONDS,
    LAST_PATIENCE_SECONDS,
    PROBE_PATIENCE_SECONDS,
    RECENT_ROWS_BYTES,
    SAMPLE_GROWTH,
    SAMPLE_INTERVAL_SECONDS,
    SLOW_SAMPLE_SECONDS,
    SUMMARY_INTERVAL_SECONDS,
)
from ..record import Kind, encode_control
from ..samples import PREFIX
from ..values import encode
from . import amd, apple, intel, nvidia, tpu
from .host import open_host
from .nodes import Election, election_key, local_rank, node_label
from .observations import Observations
from .probe import Answer, Due, Guard, Place, Probe, Values
from .torch_memory import open_torch

if TYPE_CHECKING:
    from ..run import Run

_ROW = int(Kind.ROW)
# A float of msgpack that is NaN or infinite begins with one of these.
_NO_NUMBERS = (b"\xcb\x7f\xf8", b"\xcb\xff\xf8", b"\xcb\x7f\xf0\x00", b"\xcb\xff\xf0\x00")
# Each in a thread of its own, where there is something to probe: their calls may hang.
_GUARDED: tuple[tuple[str, Callable[[Place], bool], Callable[[Place], Probe | None]], ...] = (
    ("the NVIDIA driver", nvidia.is_there, nvidia.open_nvidia),
    ("the Apple GPU", apple.is_there, apple.open_apple),
    ("the TPU", tpu.is_there, tpu.open_tpu),
)
_PLAIN: tuple[Callable[[Place], Probe | None], ...] = (open_host, open_torch, amd.open_amd, intel.open_intel)


class Target(NamedTuple):
    """What a sampler needs of its run; tests give others.

    Args:
        write: Takes a kind of record and its payload.
        step: Answers the step the run stands at.
        now_ns: Tells the time, in nanoseconds since the epoch.
        alert: Takes title, text and level.
        say: Takes a sentence for the user.
        recent: Answers bytes at the end of the journal, as many as are asked for.
    """

    write: Callable[[int, bytes], object]
    step: Callable[[], int | float]
    now_ns: Callable[[], int]
    alert: Callable[[str, str, str], None]
    say: Callable[[str], None]
    recent: Callable[[int], bytes]


class Sampling:
    """Samples until it is told to stop.

    Args:
        target: The run.
        place: Where the probes look.
        election: Whether this process is the one to sample.
        observations: Looks at what comes in.
        stop: Set when the run ends.
        interval: Seconds between samples, once the run is old enough.
        label: Of the node; empty where there is one only.
        steady: A clock that only goes forward, in seconds.
    """

    def __init__(
        self,
        target: Target,
        place: Place,
        election: Election,
        observations: Observations,
        stop: threading.Event,
        *,
        interval: float = SAMPLE_INTERVAL_SECONDS,
        label: str = "",
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self._place = place
        self._election = election
        self._observations = observations
        self._stop = stop
        self._interval = interval
        self._label = label
        self._prefix = f"{PREFIX}{label}/" if label else PREFIX
        self._steady = steady
        self._begun = steady()
        self._probes: list[Probe] = []
        self._guards: list[Guard] = []
        self._names: dict[str, str] = {}
        self._energy = self._energy_before = 0.0
        self._energy_due = float("-inf")
        self._seen_seq = -1
        self._slow = Due(SLOW_SAMPLE_SECONDS)
        self._begun_with: set[str] = set()
        self._facts: dict[str, Any] = {}

    @classmethod
    def of(cls, run: Run, settings: Any, stop: threading.Event, is_over: threading.Event) -> Sampling:
        """Answer the sampler of a run; once `is_over` is set, nothing of it reaches the run any more."""
        journal: Journal = run._journal
        environ: Mapping[str, str] = dict(os.environ)
        say = run._complaints.say

        def write(kind: int, payload: bytes) -> None:
            if not is_over.is_set():
                journal.append(kind, payload)

        def alert(title: str, text: str, level: str) -> None:
            if not is_over.is_set():
                run.alert(title, text, level)

        target = Target(
            write,
            lambda: max(run._top, 0),
            run._clock.now_ns,
            alert,
            say,
            journal.recent,
        )
        folder = run.folder
        place = Place("", environ, os.getpid(), str(folder), say)
        rank = local_rank(environ)
        sampling = cls(
            target,
            place,
            Election(election_key(environ, str(folder)), rank, time.monotonic()),
            Observations(target.alert, getattr(settings, "observations_off", None) or ()),
            stop,
            interval=getattr(settings, "x_stats_sampling_interval", None) or SAMPLE_INTERVAL_SECONDS,
            label=node_label(environ, getattr(settings, "x_label", None)),
        )
        before = run._set_before.get(f"{sampling._prefix}gpu.energy_kwh")
        if isinstance(before, (int, float)):  # of earlier processes of this run
            sampling._energy_before = float(before)
        return sampling

    def work(self) -> None:
        """Sample until the run ends, and once more then."""
        try:
            while True:
                now = self._steady()
                if self._election.holds(now):
                    self.sample(now)
                self.look_at_rows(now)
                if self._stop.wait(self._wait(now)):
                    break
            if self._election.is_won:
                self.sample(self._steady(), is_last=True)
            self.look_at_rows(self._steady())
        finally:
            self.close()

    def sample(self, now: float, *, is_last: bool = False) -> None:
        """Ask all probes, and keep what they tell as one row.

        Args:
            now: Seconds, by the steady clock.
            is_last: The run is ending: nobody is waited for long.
        """
        if not self._probes:
            self._open()
        if self._slow(now):
            self._look_for_more()
        until = time.monotonic() + (LAST_PATIENCE_SECONDS if is_last else PROBE_PATIENCE_SECONDS)
        if is_last:  # a question that the run's end has left open would stand in the way of the last one
            for answer in self._answers(until, _never):
                self._write(answer.values, answer.time_ns, now)
        for guard in self._guards:
            guard.ask(now, is_last=is_last)
        values: Values = {}
        for probe in self._probes:
            values.update(probe.sample(now))
        time_ns = self._target.now_ns()
        for answer in self._answers(until, _never if is_last else self._stop.is_set):
            if answer.time_ns < time_ns - PROBE_PATIENCE_SECONDS * 1e9:  # of an earlier question
                self._write(answer.values, answer.time_ns, now)
            else:
                values.update(answer.values)
        self._guards = [guard for guard in self._guards if not guard.is_over]
        self._write(values, time_ns, now)
        self._keep_energy(now, is_last)

    def look_at_rows(self, now: float) -> None:
        """Look for a loss that is no number among the rows that were logged last."""
        if not self._observations.has("loss"):
            return
        data = self._target.recent(RECENT_ROWS_BYTES)
        if not any(sign in data for sign in _NO_NUMBERS):
            return
        rows = []
        for frame in scan(data):
            if frame.kind == _ROW and frame.seq > self._seen_seq:
                self._seen_seq = frame.seq
                try:
                    step, _, values = msgspec.msgpack.decode(frame.payload)
                except (msgspec.DecodeError, ValueError, TypeError):  # a row as no row should be
                    continue
                if isinstance(values, dict):
                    rows.append((step, values))
        self._observations.see_rows(rows, now)

    def close(self) -> None:
        """Let the probes go, and let another process sample."""
        for guard in self._guards:
            guard.close()
        for probe in self._probes:
            probe.close()
        self._election.resign()

    def _wait(self, now: float) -> float:
        """Answer how long to wait: a young run is sampled more often."""
        age = self._steady() - self._begun
        return max(0.02, min(self._interval, max(FIRST_SAMPLE_SECONDS, age * SAMPLE_GROWTH)) - (self._steady() - now))

    def _open(self) -> None:
        self._probes = [probe for make in _PLAIN if (probe := make(self._place)) is not None]
        for probe in self._probes:
            if facts := probe.facts():
                self._learn(facts)

    def _look_for_more(self) -> None:
        """Begin with devices that were not there before: a framework may load their library in mid-run."""
        for name, is_there, make in _GUARDED:
            if name not in self._begun_with and is_there(self._place):
                self._begun_with.add(name)
                guard = Guard(name, partial(make, self._place), self._target.now_ns, self._target.say)
                guard.start()
                self._guards.append(guard)

    def _answers(self, until: float, is_late: Callable[[], bool]) -> Iterator[Answer]:
        """Answer what those in threads of their own have told, each waited for until a moment of the steady clock."""
        for guard in self._guards:
            answer = guard.answer(until - time.monotonic(), is_late)
            if answer is None:
                continue
            if answer.facts:
                self._learn(answer.facts)
            if answer.energy_kwh is not None:
                self._energy = answer.energy_kwh
            yield answer

    def _learn(self, facts: dict[str, Any]) -> None:
        self._facts.update(facts)
        self._observations.learn(facts)
        body = {self._label: self._facts} if self._label else facts
        self._target.write(Kind.ENVIRONMENT, encode_control(self._target.now_ns(), body))

    def _write(self, values: Values, time_ns: int, now: float) -> None:
        if not values:
            return
        names = self._names
        row = {}
        for key, value in values.items():
            name = names.get(key)
            if name is None:
                name = names[key] = self._prefix + key
            row[name] = value
        self._target.write(_ROW, encode((self._target.step(), time_ns, row)))
        if self._observations.is_on:
            self._observations.look(values, now)

    def _keep_energy(self, now: float, is_last: bool) -> None:
        """Put the energy of the run's GPUs into its summary."""
        if self._energy and (is_last or now >= self._energy_due):
            self._energy_due = now + SUMMARY_INTERVAL_SECONDS
            name = f"{self._prefix}gpu.energy_kwh"
            body = {"set": {name: round(self._energy_before + self._energy, 9)}, "remove": []}
            self._target.write(Kind.SUMMARY, encode_control(self._target.now_ns(), body))


def _never() -> bool:
    return False
