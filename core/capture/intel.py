"""Intel's GPUs (XPU) under Linux, as the kernel's drivers i915 and xe tell of them in `/sys`.

Only cards with a monitor of their own (hwmon): the graphics of a laptop's processor are nothing that trains.

Source: the Linux kernel's ABI documentation, sysfs-driver-intel-i915-hwmon and sysfs-driver-intel-xe-hwmon.
"""

from __future__ import annotations

import glob
import os
from typing import Any

from .amd import cards_of, text_of
from .probe import File, Place, Rates, Values

_VENDOR = "0x8086"
_MICROJOULES_PER_KWH = 3.6e12
_CLOCKS = ("../gt/gt0/rps_act_freq_mhz", "tile0/gt0/freq0/act_freq")  # of i915, of xe


def open_intel(place: Place) -> Intel | None:
    """Answer the probe; None where there is no such GPU."""
    cards = [(card, next(iter(_monitors(card)), "")) for card in cards_of(place.root, _VENDOR)]
    found = [(card, monitor) for card, monitor in cards if monitor]
    return Intel(found) if found else None


def _monitors(card: str) -> list[str]:
    return [path for path in sorted(glob.glob(f"{card}/hwmon/hwmon*")) if os.path.isfile(f"{path}/energy1_input")]


class Intel:
    """All discrete Intel GPUs of the machine.

    Args:
        cards: Their folders, and those of their monitors.
    """

    def __init__(self, cards: list[tuple[str, str]]) -> None:
        self._cards = cards
        self._rates = Rates()
        self._began: dict[int, float] = {}
        self._energy = [File(f"{monitor}/energy1_input", 64) for _, monitor in cards]
        clocks = [next((p for name in _CLOCKS if os.path.isfile(p := f"{card}/{name}")), "") for card, _ in cards]
        self._clocks = [File(path, 64) for path in clocks]
        self._temperatures = [File(f"{monitor}/temp1_input", 64) for _, monitor in cards]

    def sample(self, now: float) -> Values:
        """Answer what all GPUs tell now; power from the second sample on."""
        found: Values = {}
        for index in range(len(self._cards)):
            n = f"gpu.{index}."
            microjoules = self._energy[index].number()
            if microjoules is not None:
                began = self._began.setdefault(index, microjoules)
                found[n + "energy_kwh"] = (microjoules - began) / _MICROJOULES_PER_KWH
                watts = self._rates.of(n, microjoules * 1e-6, now)
                if watts is not None:
                    found[n + "power_watts"] = round(watts, 3)
            clock, celsius = self._clocks[index].number(), self._temperatures[index].number()
            if clock is not None:
                found[n + "sm_clock_mhz"] = clock
            if celsius is not None:
                found[n + "temperature_celsius"] = celsius / 1000
        return found

    def facts(self) -> dict[str, Any]:
        """Answer the devices."""
        return {
            "gpus": [
                {"name": f"gpu.{index}", "model": f"Intel {text_of(f'{card}/device')}"}
                for index, (card, _) in enumerate(self._cards)
            ]
        }

    def close(self) -> None:
        """Close all files."""
        for file in (*self._energy, *self._clocks, *self._temperatures):
            file.close()
