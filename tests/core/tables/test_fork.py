"""A process that has written a table may fork: the child writes its own, and goes away as it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import gc, os, sys
from pathlib import Path
from tracker.core.blobs import FolderBlobs
from tracker.core.tables import Table
from tracker.core.tables.parquet import write_blobs

def write(folder):
    found = write_blobs(Table(columns=["x"], data=[[1]]).frame(), FolderBlobs(Path(folder)))
    assert len(found) == 1

write("before")
pid = os.fork()
if not pid:
    write("child")
    gc.collect()
    sys.exit(7)
_, status = os.waitpid(pid, 0)
write("after")
print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_writes_its_own(home: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )

    assert (done.stdout.strip(), done.returncode) == ("7", 0), done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"before", "child", "after"}
