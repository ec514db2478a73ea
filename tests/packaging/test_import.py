"""What `import tracker` and a run cost in modules; the times stand in the benchmarks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = {
    "torch", "numpy", "pandas", "pyarrow", "sklearn", "requests", "urllib3", "fastapi", "pydantic", "starlette",
    "uvicorn", "sqlalchemy", "click", "asyncio", "blake3", "psutil", "pynvml", "pyfastcdc", "tracker.server", "tracker.core.cli", "tracker.integrations",
}  # fmt: skip


def _loaded(code: str, cwd: Path) -> set[str]:
    code += "\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_loads_nothing_heavy(tmp_path: Path) -> None:
    loaded = _loaded("import tracker", tmp_path)

    assert "tracker" in loaded
    assert HEAVY & loaded == set()


def test_an_offline_run_loads_nothing_heavy(tmp_path: Path) -> None:
    code = """
import tracker
QUIET = {"disable_code": True, "disable_git": True, "disable_meta": True}
with tracker.init(project="light", mode="offline") as run:
    run.log({"loss": 1.0})
"""
    loaded = _loaded(code, tmp_path)

    assert HEAVY & loaded <= {"blake3"}  # on a thread: the script and the packages are kept as files
    assert HEAVY & _loaded(code.replace('"offline"', '"offline", settings=QUIET'), tmp_path) == set()


def test_every_public_name_can_be_had() -> None:
    import tracker
    import tracker.testing

    for name in tracker.__all__:
        if name not in ("config", "summary", "run"):  # these are the current run's, and there is none
            assert getattr(tracker, name) is not None
    assert set(tracker.__all__) <= set(dir(tracker))
    for name in tracker.testing.__all__:
        assert getattr(tracker.testing, name) is not None
