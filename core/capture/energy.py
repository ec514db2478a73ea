"""What a device has used since the run began, where its counter is dear to ask: its power tells it in between."""

from __future__ import annotations

from ..limits import SELDOM_SAMPLE_SECONDS

_JOULES_PER_KWH = 3.6e6


class Energy:
    """The energy of one device, by the counter of the device as of its last reading, and power times time since.

    The counter only goes up, so that nothing is lost between two readings; without one it is power times time throughout.
    """

    def __init__(self) -> None:
        self._known: float | None = None  # joules since the run began
        self._began: float | None = None  # what the counter said then
        self._counter = 0.0
        self._power: tuple[float, float] | None = None  # watts, and until when they are counted
        self._shown = self._ahead = 0.0
        self._read = float("-inf")

    @property
    def kwh(self) -> float | None:
        """What is known of it; None before anything is. It goes back where power has told too much."""
        return None if self._known is None else self._known / _JOULES_PER_KWH

    def see_power(self, watts: float, now: float) -> None:
        """Take the power at a moment; in between it is taken to change evenly."""
        known = self._known or 0.0
        if self._power is not None:
            before, then = self._power
            known += (before + watts) / 2 * (now - then)
        self._known = known
        self._power = (watts, now)

    def see_counter(self, joules: float, now: float) -> None:
        """Take what the counter says: from here on power counts anew."""
        if self._began is None or joules < self._counter:  # the first time, or the driver was loaded anew
            self._began = joules - (self._known or 0.0)
        self._counter = joules
        self._known = joules - self._began
        if self._power is not None:
            self._power = (self._power[0], now)
        self._ahead = max(0.0, self._shown - self._known)
        self._read = now

    def shown_kwh(self, now: float) -> float | None:
        """Answer what a chart shows: it never goes back.

        Where power has told too much, the rest is worked off by the time of the counter's next reading.
        """
        if self._known is None:
            return None
        left = max(0.0, 1.0 - (now - self._read) / SELDOM_SAMPLE_SECONDS)
        self._shown = max(self._shown, self._known + self._ahead * left)
        return self._shown / _JOULES_PER_KWH
