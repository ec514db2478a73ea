"""For people who test what they build on tracker; see `tracker.core.testing`."""

from tracker.core.testing import read_runs

__all__ = ["read_runs"]
