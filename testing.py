"""For people who test what they build on tracker.

pytest_plugins = ["tracker.testing"]  # in conftest.py: the fixtures `store` and `tracker_dir`

def test_training_logs_its_loss(store):
    train()
    assert [row["loss"] for row in store.run()["history"]] == [0.5, 0.25]
"""

import sys

from tracker.core.testing import read_runs as read_runs
from tracker.core.transport import MemoryTransport as MemoryTransport

__all__ = ["MemoryTransport", "read_runs"]

if "pytest" in sys.modules:  # who does not test with it need not have it
    from tracker.core.fixtures import Store as Store
    from tracker.core.fixtures import store as store
    from tracker.core.fixtures import tracker_dir as tracker_dir

    __all__ += ["Store", "store", "tracker_dir"]
