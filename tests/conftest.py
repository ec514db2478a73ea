"""What all tests share: a home of their own, and the flag for the long form of the batteries."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

from tracker.core import capture

# What a script starts in the background (`&`) has Ctrl-C ignored, and `nohup` the end of the terminal; so would have all
# that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Time never decides a test's outcome.
hypothesis.settings.register_profile("tracker", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("tracker")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer `--long`."""
    parser.addoption("--long", action="store_true", default=False, help="run the batteries in full, not as in CI")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's own folders, and none sees the user's own settings."""
    for name in list(os.environ):
        if name.startswith(("TRACKER_", "WANDB_")):
            monkeypatch.delenv(name)
    # What a run captures of its code has tests of its own; elsewhere it would put its records among those that are told.
    monkeypatch.setattr(capture, "PARTS", tuple(part for part in capture.PARTS if part != "code"))
    home = tmp_path_factory.mktemp("home")
    for name, folder in {
        "HOME": home,
        "TRACKER_DIR": home / "runs",
        "TRACKER_CACHE_DIR": home / "cache",
        "TRACKER_CONFIG_DIR": home / "config",
        "XDG_DATA_HOME": home / "data",
        "XDG_CACHE_HOME": home / "cache",
        "XDG_CONFIG_HOME": home / "config",
    }.items():
        monkeypatch.setenv(name, str(folder))
    # What a run captures by itself comes when it comes; tests that want it turn it on.
    monkeypatch.setenv("TRACKER_X_DISABLE_STATS", "true")
    return home
