"""What a look at the samples shows, said as alerts."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from tracker.core.capture.observations import RULES, Observations
from tracker.core.settings import _OBSERVATIONS

GIB = 1 << 30
GPU = {
    "name": "gpu.0",
    "model": "NVIDIA H100",
    "memory_bytes": 80 * GIB,
    "is_own": True,
    "is_chosen": True,
    "cuda_index": 2,
}


class Told:
    """Observations, and the alerts they have left.

    Args:
        gpus: The facts of the GPUs.
        off: Rules that are turned off.
    """

    def __init__(self, *gpus: dict[str, Any], off: tuple[str, ...] = ()) -> None:
        self.alerts: list[tuple[str, str, str]] = []
        self.rules = Observations(lambda *alert: self.alerts.append(alert), off)
        self.rules.learn({"gpus": list(gpus)})

    def see(self, seconds: float, every: float = 2.0, start: float = 0.0, **values: float) -> list[str]:
        """Show the same values for some time; answer the titles of new alerts."""
        before = len(self.alerts)
        now = start
        while now <= start + seconds:
            self.rules.look({key.replace("_0_", ".0."): value for key, value in values.items()}, now)
            now += every
        return [title for title, _, _ in self.alerts[before:]]


def test_an_idle_gpu_is_told_after_five_minutes() -> None:
    """Once, and again after an hour; work in between begins the count anew."""
    told = Told(GPU)

    assert told.see(280, gpu_0_utilization=0) == []
    assert told.see(0, start=290, gpu_0_utilization=80) == []
    assert told.see(280, start=300, gpu_0_utilization=0) == []
    assert told.see(60, start=580, gpu_0_utilization=0) == ["gpu.0 is idle"]
    assert told.see(3000, start=640, gpu_0_utilization=0) == []
    assert told.see(700, start=3640, gpu_0_utilization=0) == ["gpu.0 is idle"]
    assert told.alerts[0][2] == "WARN"
    assert "gpu.0 (NVIDIA H100) has done nothing for 5 minutes" in told.alerts[0][1]


def test_a_gpu_that_nobody_meant_is_no_news() -> None:
    """A training on the CPU of a machine with GPUs; or on one of eight that all may see."""
    unmeant = {**GPU, "is_chosen": False}

    assert Told(unmeant).see(1000, gpu_0_utilization=0) == []
    assert Told({**GPU, "is_own": False}).see(1000, gpu_0_utilization=0) == []
    used = Told(unmeant)
    used.see(10, gpu_0_utilization=60)
    assert used.see(400, start=20, gpu_0_utilization=0) == ["gpu.0 is idle"]


def test_memory_near_its_limit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it lasts, and when torch's cache is not what fills it, nor a framework that takes all at once."""
    for module in ("jax", "tensorflow"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert Told(GPU).see(10, gpu_0_memory_percent=99) == []
    assert Told(GPU).see(30, gpu_0_memory_percent=99) == ["gpu.0 is nearly out of memory"]
    cached = {"gpu_0_memory_percent": 99, "torch.cuda.2.allocated_bytes": 20 * GIB}
    assert Told(GPU).see(30, **cached) == []
    assert Told(GPU).see(30, **{**cached, "torch.cuda.2.allocated_bytes": 79 * GIB}) == [
        "gpu.0 is nearly out of memory"
    ]
    monkeypatch.setitem(sys.modules, "jax", ModuleType("jax"))
    assert Told(GPU).see(30, gpu_0_memory_percent=99) == []


def test_the_machine_s_memory_is_watched() -> None:
    """Its own, or what a container may use: the figure is the same."""
    told = Told()

    assert told.see(30, **{"memory.percent": 94.0}) == []
    assert told.see(30, start=40, **{"memory.percent": 96.0, "memory.available_bytes": GIB}) == [
        "memory is nearly full"
    ]
    assert "1.0 GiB are left" in told.alerts[0][1]


def test_heat_is_told_when_it_lasts() -> None:
    """A second of it is everyday life."""
    told = Told(GPU)

    assert told.see(10, gpu_0_throttled_by_heat=1, gpu_0_temperature_celsius=91) == []
    assert told.see(2, start=12, gpu_0_throttled_by_heat=0) == []
    assert told.see(40, start=16, gpu_0_throttled_by_heat=1) == ["gpu.0 is too hot"]
    assert "slowed down for heat at 91 °C" in told.alerts[0][1]


@pytest.mark.parametrize(
    ("free", "percent", "is_told"),
    [(500 * GIB, 96.0, False), (10 * GIB, 96.0, True), (10 * GIB, 80.0, False), (GIB // 2, 50.0, True)],
)
def test_a_disk_is_full_by_share_and_by_room(free: int, percent: float, is_told: bool) -> None:
    """A large disk at 96 % has room for a night, a small one at 50 % may have none."""
    told = Told()
    titles = told.see(0, **{"disk.runs.free_bytes": free, "disk.runs.percent": percent})

    assert titles == (["the disk of the runs is nearly full"] if is_told else [])


def test_a_lost_gpu_is_an_error() -> None:
    """Told once for good."""
    told = Told(GPU)

    assert told.see(10_000, every=100, gpu_0_lost=1) == ["gpu.0 is lost"]
    assert told.alerts[0][2] == "ERROR"


def test_a_loss_that_is_no_number_is_told() -> None:
    """Once for each metric; other metrics may be NaN as they like."""
    told = Told()
    rows = [
        (3, {"loss": 0.5, "grad_norm": float("nan")}),
        (4, {"train/Loss": float("nan"), "note": "loss"}),
        (5, {"train/Loss": float("nan"), "val_loss": float("-inf")}),
    ]

    told.rules.see_rows(rows, 0.0)
    told.rules.see_rows(rows, 10_000.0)

    assert [title for title, _, _ in told.alerts] == ["train/Loss is NaN", "val_loss is infinite"]
    assert "train/Loss is NaN at step 4." in told.alerts[0][1]


def test_each_rule_can_be_turned_off() -> None:
    """By its name, or all of them; the setting knows the same names."""
    values = {
        "gpu_0_utilization": 0.0,
        "gpu_0_lost": 1.0,
        "gpu_0_memory_percent": 99.0,
        "gpu_0_throttled_by_heat": 1.0,
        "memory.percent": 99.0,
        "disk.runs.free_bytes": 0.0,
    }
    all_titles = set(Told(GPU).see(400, **values))
    for rule in RULES:
        if rule == "loss":
            continue
        titles = set(Told(GPU, off=(rule,)).see(400, **values))
        assert len(all_titles - titles) == 1, rule
    silent = Told(GPU, off=("all",))

    assert silent.see(400, **values) == []
    assert not silent.rules.is_on
    assert not Told(off=("loss",)).rules.has("loss")
    assert (*RULES, "all") == _OBSERVATIONS
