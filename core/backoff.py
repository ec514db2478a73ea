"""How long to wait, and what to say, while a server does not take what is sent."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from .errors import TransportError
from .limits import (
    BACKOFF_FINISHING_SECONDS,
    BACKOFF_FIRST_SECONDS,
    BACKOFF_LIMIT_SECONDS,
    BACKOFF_STEADY_SECONDS,
    COMPLAINT_INTERVAL_SECONDS,
    PATIENCE_SECONDS,
)

_random = random.Random()  # not the user's generator, which they may seed
_REFUSED_KEY = (401, 403)
_SPOKEN = (*_REFUSED_KEY, 404, 405, 200, 409)  # a person must do something: say so at once


class Backoff:
    """Counts failures, and tells people of those that last.

    The wait doubles from half a second to four, then grows with the outage to a tenth of it, at most a minute, and is
    then spread at random: a short outage is over within seconds, and a long one is not met by a thousand runs at once.

    Args:
        say: Takes a sentence for the user.
        clock: Answers seconds that only go forward.
        jitter: Answers a number between 0 and 1.
        comfort: What is said behind each trouble.
    """

    def __init__(
        self,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = _random.random,
        comfort: str = "Training goes on, nothing is lost, it is tried again.",
    ) -> None:
        self._say = say
        self._clock = clock
        self._jitter = jitter
        self._comfort = comfort
        self._failures = 0
        self._since = 0.0
        self._said_at: float | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the last try failed."""
        return self._failures > 0

    def failed(self, error: TransportError, began: float, *, is_finishing: bool = False) -> float:
        """Take note of a failed try; answer how many seconds to wait before the next.

        Args:
            error: What went wrong.
            began: When the try began, by `clock`.
            is_finishing: Somebody waits for it: try often.
        """
        now = self._clock()
        if not self._failures:
            self._since = began
        self._failures += 1
        lasts = now - self._since
        is_due = self._said_at is None or now - self._said_at >= COMPLAINT_INTERVAL_SECONDS
        if is_due and (lasts >= PATIENCE_SECONDS or error.status in _SPOKEN):
            self._said_at = now
            text = str(error)
            self._say(f"{text}{'' if text.endswith('.') else '.'} {self._comfort}")
        if error.retry_after is not None:
            return error.retry_after * (1 + 0.1 * self._jitter())
        if is_finishing:
            return BACKOFF_FINISHING_SECONDS
        wait = min(BACKOFF_FIRST_SECONDS * 2.0 ** min(self._failures - 1, 10), BACKOFF_STEADY_SECONDS)
        if error.status in _REFUSED_KEY:
            wait = max(wait, BACKOFF_STEADY_SECONDS)
        wait = min(max(wait, lasts / 10), BACKOFF_LIMIT_SECONDS)
        return wait * (0.5 + 0.5 * self._jitter())

    def succeeded(self, address: str) -> None:
        """Take note that the server takes batches; say so if people were told otherwise."""
        if self._failures and self._said_at is not None:
            self._say(f"{address} takes data again, after {self._clock() - self._since:.0f} s.")
            self._said_at = None
        self._failures = 0
