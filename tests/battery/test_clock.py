"""A wall clock that jumps: times go on, durations are right."""

from __future__ import annotations

from tracker.core.clock import Clock, steady_ns, steady_reader

DAY = 24 * 3600 * 10**9


class Times:
    """Both clocks of a machine."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_700_000_000 * 10**9, 500

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.steady)


def test_the_wall_clock_is_read_once():
    """A day forward, two hours back, a year forward: the clock counts on as if nothing had been."""
    times = Times()
    clock = times.clock()
    begin = clock.now_ns()
    for seconds, jump in ((1, DAY), (2, -2 * 3600 * 10**9), (3, 365 * DAY), (4, -400 * DAY)):
        times.wall += jump
        times.steady += 10**9

        assert clock.now_ns() - begin == seconds * 10**9


def test_the_first_reading_is_the_wall_clocks():
    """The epoch is the wall clock's, whatever the steady clock's zero is."""
    times = Times()

    assert times.clock().now_ns() == times.wall


def test_two_clocks_of_one_time_agree():
    """Runs begun at different moments tell the same time, unless the wall clock was set in between."""
    times = Times()
    first = times.clock()
    times.wall += 7
    times.steady += 7

    assert first.now_ns() == times.clock().now_ns()


def test_the_parts_are_the_whole():
    """`steady_reader` answers what `now_ns` adds up."""
    clock = Times().clock()
    read, offset = steady_reader(clock)

    assert read() + offset == clock.now_ns()


def test_the_real_clock_goes_forward():
    """No reading is below the one before it."""
    readings = [steady_ns() for _ in range(1000)]

    assert readings == sorted(readings)
    assert all(isinstance(reading, int) for reading in readings)
