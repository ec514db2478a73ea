"""The sampler of a run: when it asks, what it writes, and that it never stands in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tracker
from tracker import Api
from tracker.core.capture.nodes import Election
from tracker.core.capture.observations import Observations
from tracker.core.capture.probe import Place
from tracker.core.capture.sampling import Sampling, Target
from tracker.core.clock import Clock
from tracker.core.journal import Journal, scan
from tracker.core.limits import FIRST_SAMPLE_SECONDS, SAMPLE_INTERVAL_SECONDS
from tracker.core.record import Kind
from tracker.core.values import encode

from .fake_nvml import FakeDriver, data_centre_gpu

on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")


@pytest.fixture(autouse=True)
def own_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples are wanted here; and no launcher's variables, nor locks of others."""
    import tempfile

    monkeypatch.delenv("TRACKER_X_DISABLE_STATS")
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("locks")))
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    # However busy the machine is: what a test does not want to wait for, it says itself.
    monkeypatch.setattr("tracker.core.capture.sampling.PROBE_PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr("tracker.core.capture.sampling.LAST_PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr("tracker.core.capture.sampler.LAST_SAMPLE_SECONDS", 60.0)


class Kept:
    """What a sampler has written, and a sampler that writes to it.

    Args:
        options: Of `Sampling`.
        recent: Answers the end of a journal.
        off: Rules that are turned off.
    """

    def __init__(
        self, recent: Callable[[int], bytes] = lambda _: b"", off: tuple[str, ...] = ("disk",), **options: Any
    ) -> None:
        self.records: list[tuple[int, Any]] = []
        self.alerts: list[tuple[str, str, str]] = []
        self.said: list[str] = []
        self.now_ns = 1_000_000_000
        target = Target(
            lambda kind, payload: self.records.append((kind, msgspec.msgpack.decode(payload))),
            lambda: 7,
            lambda: self.now_ns,
            lambda *alert: self.alerts.append(alert),
            self.said.append,
            recent,
        )
        place = Place("", {}, os.getpid(), "/", self.said.append)
        self.stop = threading.Event()
        self.sampling = Sampling(
            target,
            place,
            Election("test", 0, 0.0),
            Observations(target.alert, off),
            self.stop,
            **options,
        )

    def rows(self) -> list[dict[str, Any]]:
        """Answer the values of the rows."""
        return [body[2] for kind, body in self.records if kind == Kind.ROW]

    def of(self, kind: Kind) -> list[dict[str, Any]]:
        """Answer the bodies of other records."""
        return [body[1] for found, body in self.records if found == kind]


def wait_for(holds: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until it holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def test_a_sample_is_one_row_at_the_step_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the machine and of its GPUs together; what does not change stands in a record of its own."""
    FakeDriver([data_centre_gpu(0)]).install(monkeypatch)
    kept = Kept()

    kept.sampling.sample(100.0)
    kept.sampling.close()

    (row,) = [body for kind, body in kept.records if kind == Kind.ROW]
    assert row[:2] == [7, 1_000_000_000]
    assert row[2]["system/gpu.0.utilization"] == 50
    assert 0 < row[2]["system/memory.percent"] <= 100
    assert all(key.startswith("system/") for key in row[2])
    facts = {key: value for body in kept.of(Kind.ENVIRONMENT) for key, value in body.items()}
    assert set(facts) == {"limits", "gpus", "gpu_driver", "cuda_driver"}
    assert facts["gpus"][0]["model"] == "NVIDIA H100 80GB HBM3"


def test_nodes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their label, in samples, in facts and in the summary."""
    gpu = data_centre_gpu(0)
    FakeDriver([gpu]).install(monkeypatch)
    kept = Kept(label="node1")

    kept.sampling.sample(100.0)
    gpu.millijoules += 3_600_000_000
    kept.sampling.sample(102.0, is_last=True)
    kept.sampling.close()

    assert all(key.startswith("system/node1/") for row in kept.rows() for key in row)
    assert {key for body in kept.of(Kind.ENVIRONMENT) for key in body} == {"node1"}
    assert set(kept.of(Kind.ENVIRONMENT)[-1]["node1"]) == {"limits", "gpus", "gpu_driver", "cuda_driver"}
    assert kept.of(Kind.SUMMARY) == [{"set": {"system/node1/gpu.energy_kwh": 1.0}, "remove": []}]
    assert kept.rows()[-1]["system/node1/gpu.energy_kwh"] == pytest.approx(1.0)


def test_the_energy_of_the_run_is_in_its_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each minute, and at the end, when it is the counter's; earlier processes of the run counted in."""
    gpu = data_centre_gpu(0, milliwatts=18_900_000)  # a twentieth too much
    FakeDriver([gpu]).install(monkeypatch)
    kept = Kept()
    kept.sampling._energy_before = 2.0
    for second in range(0, 62, 2):
        kept.sampling.sample(float(second))
        gpu.millijoules += 36_000_000

    kept.sampling.sample(62.0, is_last=True)
    kept.sampling.close()

    found = [body["set"]["system/gpu.energy_kwh"] for body in kept.of(Kind.SUMMARY)]
    shown = [row["system/gpu.energy_kwh"] for row in kept.rows()]
    assert found == pytest.approx([2.0105, 2.31])
    assert shown == sorted(shown)
    assert shown[-1] == pytest.approx(0.31, rel=0.06)


def test_a_question_that_is_open_at_the_end_does_not_take_the_last_one_s_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it answers is a row of its own, and the energy is counted behind it."""
    gpu = data_centre_gpu(0)
    driver = FakeDriver([gpu])
    driver.install(monkeypatch)
    kept = Kept()
    kept.sampling.sample(0.0)
    driver.hanging.add("nvmlDeviceGetUtilizationRates")
    monkeypatch.setattr("tracker.core.capture.sampling.PROBE_PATIENCE_SECONDS", 0.0)
    kept.sampling.sample(2.0)
    assert driver.hung.wait(60)
    gpu.millijoules += 3_600_000_000
    driver.hanging.clear()
    driver.released.set()

    kept.sampling.sample(4.0, is_last=True)
    kept.sampling.close()

    assert ["system/gpu.0.utilization" in row for row in kept.rows()] == [True, False, True, True]
    assert kept.of(Kind.SUMMARY)[-1]["set"] == {"system/gpu.energy_kwh": 1.0}


def test_a_driver_that_hangs_costs_its_own_figures_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is sampled on, the user is told once, and the end does not wait."""
    driver = FakeDriver([data_centre_gpu(0)])
    driver.hanging.add("nvmlDeviceGetUtilizationRates")
    driver.install(monkeypatch)
    monkeypatch.setattr("tracker.core.capture.sampling.PROBE_PATIENCE_SECONDS", 0.0)
    kept = Kept()

    for second in range(0, 40, 2):
        kept.sampling.sample(float(second))
    kept.sampling.close()
    driver.released.set()

    assert len(kept.rows()) == 20
    assert all("system/memory.percent" in row for row in kept.rows())
    assert not any("system/gpu.0.utilization" in row for row in kept.rows())
    assert [sentence.partition(" has")[0] for sentence in kept.said] == ["the NVIDIA driver"]


def test_an_answer_that_comes_late_keeps_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a row of its own: what the GPU did then is not told of now."""
    driver = FakeDriver([data_centre_gpu(0)])
    driver.hanging.add("nvmlDeviceGetUtilizationRates")
    driver.install(monkeypatch)
    kept = Kept()
    monkeypatch.setattr("tracker.core.capture.sampling.PROBE_PATIENCE_SECONDS", 0.0)
    kept.sampling.sample(0.0)
    (guard,) = kept.sampling._guards
    driver.hanging.clear()
    driver.released.set()
    wait_for(lambda: guard._answers.qsize())
    kept.now_ns += 5_000_000_000
    monkeypatch.setattr("tracker.core.capture.sampling.PROBE_PATIENCE_SECONDS", 1.0)

    kept.sampling.sample(5.0)
    kept.sampling.close()

    rows = [body for kind, body in kept.records if kind == Kind.ROW]
    assert [(row[1], "system/gpu.0.utilization" in row[2]) for row in rows] == [
        (1_000_000_000, False),
        (1_000_000_000, True),
        (6_000_000_000, False),
    ]


def test_the_end_of_a_run_does_not_wait_for_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cuts the wait short that a sample is in, however long that would be."""
    driver = FakeDriver([data_centre_gpu(0)])
    driver.hanging.add("nvmlDeviceGetUtilizationRates")
    driver.install(monkeypatch)
    monkeypatch.setattr("tracker.core.capture.sampling.PROBE_PATIENCE_SECONDS", 3600.0)
    monkeypatch.setattr("tracker.core.capture.sampling.LAST_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr("tracker.core.capture.sampler.LAST_SAMPLE_SECONDS", 3600.0)
    run = tracker.init(project="p", dir=tmp_path, settings={"silent": True})
    assert driver.hung.wait(60)

    run.finish()

    driver.released.set()
    with Api(dir=tmp_path) as api:
        assert len(api.run(run.path).history(stream="system", pandas=False)) == 2


def test_a_young_run_is_sampled_more_often() -> None:
    """So that one of ten seconds has more than five points; with time the wait grows to what was set."""
    ages = [0.0]
    kept = Kept(steady=lambda: ages[-1])

    while ages[-1] < 30:
        ages.append(ages[-1] + kept.sampling._wait(ages[-1]))

    waits = [round(later - earlier, 6) for earlier, later in pairwise(ages)]
    assert waits[0] == FIRST_SAMPLE_SECONDS
    assert waits == sorted(waits)
    assert waits[-1] == SAMPLE_INTERVAL_SECONDS
    assert 8 <= sum(age < 10 for age in ages) <= 14


def test_a_nan_in_the_journal_is_found(tmp_path: Path) -> None:
    """By a look at its end, which costs `log` nothing; however the row was written before."""
    journal = Journal(tmp_path / "streams", Clock())
    kept = Kept(journal.recent)
    for step in range(2000):
        journal.append(Kind.ROW, encode((step, step, {"loss": 0.5, "acc": 1})))
    kept.sampling.look_at_rows(0.0)
    before = list(kept.alerts)
    journal.append(Kind.ROW, encode((2000, 2000, {"loss": float("nan"), "other": {"deep": 1}})))
    journal.append(Kind.ROW, encode((2001, 2001, {"acc": 1})))

    kept.sampling.look_at_rows(2.0)
    kept.sampling.look_at_rows(4.0)
    journal.close()

    assert before == []
    assert [title for title, _, _ in kept.alerts] == ["loss is NaN"]
    assert "at step 2000." in kept.alerts[0][1]


def test_the_end_of_a_journal_is_read_as_it_is_written(tmp_path: Path) -> None:
    """Mapped or not, cut anywhere, and of a closed one nothing."""
    for is_mapped in (True, False):
        journal = Journal(tmp_path / str(is_mapped), Clock(), is_mapped=is_mapped)
        empty = journal.recent(100)
        for number in range(50):
            journal.append(Kind.ROW, encode((number, number, {"x": number})))
        found = journal.recent(200)
        journal.close()

        assert len(empty) <= 32
        assert len(found) == 200
        assert [frame.seq for frame in scan(found)][-1] == 50
        assert journal.recent(200) == b""


def test_a_run_holds_samples_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing but `init`: machine, GPUs, energy, and an alert for a loss that is NaN."""
    gpu = data_centre_gpu(0)
    driver = FakeDriver([gpu])
    driver.install(monkeypatch)
    before = set(threading.enumerate())
    run = tracker.init(project="p", dir=tmp_path, settings={"silent": True, "x_stats_sampling_interval": 0.05})
    run.log({"loss": 1.0})
    wait_for(lambda: driver.calls_of("nvmlDeviceGetUtilizationRates") > 2)
    gpu.millijoules += 3_600_000_000
    run.log({"loss": float("nan")})
    run.finish()

    with Api(dir=tmp_path) as api:
        found = api.run(run.path)
        samples = found.history(stream="system", pandas=False)
        logged = found.history(pandas=False)

    assert len(samples) >= 3
    assert {row["_step"] for row in samples} <= {0, 1}
    assert samples[-1]["system/gpu.0.utilization"] == 50
    assert "system/memory.percent" in samples[-1]
    assert found.summary["system/gpu.energy_kwh"] == pytest.approx(1.0)
    assert len(logged) == 2
    assert (found.last_step, found.points) == (1, 2)
    assert [alert["title"] for alert in found.details["alerts"]] == ["loss is NaN"]
    wait_for(lambda: not [t for t in threading.enumerate() if t.name.startswith("tracker-") and t not in before])


def test_a_run_that_goes_on_adds_its_energy_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many processes it takes."""
    for number in range(2):
        gpu = data_centre_gpu(0)
        driver = FakeDriver([gpu])
        driver.install(monkeypatch)
        run = tracker.init(
            project="p",
            id="r",
            dir=tmp_path,
            resume="allow",
            settings={"silent": True, "x_stats_sampling_interval": 0.05},
        )
        wait_for(lambda driver=driver: driver.calls_of("nvmlDeviceGetUtilizationRates") > 1)
        gpu.millijoules += 3_600_000_000
        run.finish()
        assert run.summary["system/gpu.energy_kwh"] == pytest.approx(1.0 + number)


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    """By W&B's setting, or by the variable: then there is no thread."""
    for settings, variable in (({"x_disable_stats": True}, None), ({"_disable_stats": True}, None), ({}, "true")):
        with pytest.MonkeyPatch.context() as patch:
            if variable:
                patch.setenv("TRACKER_DISABLE_STATS", variable)
            with tracker.init(project="p", dir=tmp_path, settings={"silent": True, **settings}):
                names = [thread.name for thread in threading.enumerate()]

        assert "tracker-sampler" not in names


def test_a_run_of_a_moment_pays_nothing(tmp_path: Path) -> None:
    """It ends before anything is loaded, and the thread with it."""
    with tracker.init(project="p", dir=tmp_path, settings={"silent": True}) as run:
        pass

    with Api(dir=tmp_path) as api:
        assert api.run(run.path).history(stream="system", pandas=False) == []
    assert "tracker-sampler" not in [thread.name for thread in threading.enumerate()]


def test_nothing_is_written_behind_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler that hangs is left behind, and finds its way to the journal barred."""
    entered, leave = threading.Event(), threading.Event()

    def hang(self: Sampling, now: float, *, is_last: bool = False) -> None:
        entered.set()
        leave.wait(60)
        self._write({"late": 1.0}, 1, now)

    monkeypatch.setattr(Sampling, "sample", hang)
    monkeypatch.setattr("tracker.core.capture.sampler.LAST_SAMPLE_SECONDS", 0.01)
    run = tracker.init(project="p", dir=tmp_path, settings={"silent": True})
    assert entered.wait(60)
    run.finish()
    leave.set()
    wait_for(lambda: "tracker-sampler" not in [thread.name for thread in threading.enumerate()])

    with Api(dir=tmp_path) as api:
        assert api.run(run.path).history(stream="system", pandas=False) == []


def test_a_sampler_that_breaks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """And the run goes on."""

    def broken(self: Sampling, now: float, *, is_last: bool = False) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(Sampling, "sample", broken)
    said: list[str] = []
    run = tracker.init(project="p", dir=tmp_path, settings={"silent": True})
    monkeypatch.setattr(run._complaints, "say", said.append)
    wait_for(lambda: said)
    run.log({"loss": 1.0})
    run.finish()

    assert said == ["the machine is not sampled any more (RuntimeError: no such luck)."]
    assert run.state == "finished"


@on_linux
def test_no_package_is_imported_for_it() -> None:
    """On a Linux machine without GPUs neither psutil nor pynvml is loaded, nor numpy."""
    code = """
import sys, tempfile, time, tracker
settings = {"silent": True, "disable_code": True, "disable_git": True, "disable_meta": True}
with tracker.init(project="p", dir=tempfile.mkdtemp(), settings=settings) as run:
    until = time.monotonic() + 60
    while run._journal.seq < 4 and time.monotonic() < until:
        time.sleep(0.01)
    assert run._journal.seq >= 4
loaded = [name for name in ("psutil", "pynvml", "numpy", "torch", "subprocess") if name in sys.modules]
print(loaded)
"""
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("there is an NVIDIA driver here")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)

    assert done.stdout == "[]\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_of_ranks_with_a_run_each_the_first_samples(tmp_path: Path) -> None:
    """One set of samples for each node, not one for each rank: eight ranks would give eight curves of one GPU."""
    code = f"""
import sys, time, tracker
from tracker.core.capture import nodes
nodes.RANK_GRACE_SECONDS = nodes.ELECTION_INTERVAL_SECONDS = 0.0
asked, holds = [], nodes.Election.holds
nodes.Election.holds = lambda self, now: asked.append(now) or holds(self, now)
run = tracker.init(project="p", id="rank" + sys.argv[1], dir={str(tmp_path)!r},
                   settings={{"silent": True, "x_stats_sampling_interval": 0.05}})
until = time.monotonic() + 60
while len(asked) < 5 and time.monotonic() < until:
    time.sleep(0.01)
print("ready", flush=True)
sys.stdin.readline()
run.finish()
"""
    launched = {"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "here", "MASTER_PORT": "29500"}
    children = []
    for rank in ("0", "1"):
        child = subprocess.Popen(
            [sys.executable, "-c", code, rank],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **launched, "LOCAL_RANK": rank, "RANK": rank},
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        children.append(child)
    for child in reversed(children):
        child.communicate("\n", timeout=60)

    with Api(dir=tmp_path) as api:
        rows = [api.run(f"p/rank{rank}").history(stream="system", pandas=False) for rank in (0, 1)]

    assert len(rows[0]) >= 3
    assert rows[1] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_of_several_processes_of_a_run_one_samples(tmp_path: Path) -> None:
    """Two processes go on with one run; only the first of them writes samples."""
    code = f"""
import sys, time, tracker
run = tracker.init(project="p", id="shared", dir={str(tmp_path)!r}, resume="allow",
                   settings={{"silent": True, "x_stats_sampling_interval": 0.05, "x_label": sys.argv[1]}})
until = time.monotonic() + 60
if sys.argv[1] == "first":
    while run._journal.seq < 6 and time.monotonic() < until:
        time.sleep(0.01)
print("ready", flush=True)
sys.stdin.readline()
run.finish()
"""
    children = []
    for label in ("first", "second"):
        child = subprocess.Popen(
            [sys.executable, "-c", code, label], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        children.append(child)
    with Api(dir=tmp_path) as api:
        count = 0

        def has_grown() -> bool:
            return len(api.run("p/shared").history(stream="system", pandas=False)) > count + 10

        count = len(api.run("p/shared").history(stream="system", pandas=False))
        wait_for(has_grown)  # half a second at least: the second one has had its turn
    for child in reversed(children):
        child.communicate("\n", timeout=60)
    with Api(dir=tmp_path) as api:
        rows = api.run("p/shared").history(stream="system", pandas=False)

    labels = {key.split("/")[1] for row in rows for key in row if key.startswith("system/")}
    assert labels == {"first"}
