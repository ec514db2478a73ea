"""AMD's GPUs under Linux, as the kernel's driver tells of them in `/sys`: no library to install, and no call that hangs.

Source: the Linux kernel's documentation, gpu/amdgpu/thermal and gpu/amdgpu/driver-misc; hwmon's sysfs interface.
"""

from __future__ import annotations

import glob
import os
from typing import Any

from .probe import File, Place, Values

_VENDOR = "0x1002"
_KWH_PER_MICROJOULE = 1 / 3.6e12


def open_amd(place: Place) -> Amd | None:
    """Answer the probe; None where there is no such GPU."""
    cards = cards_of(place.root, _VENDOR)
    found = [card for card in cards if os.path.isfile(f"{card}/gpu_busy_percent")]
    return Amd(found) if found else None


def cards_of(root: str, vendor: str) -> list[str]:
    """Answer the device folders of a vendor's graphics cards, in order of their numbers."""
    found = []
    for card in glob.glob(f"{root}/sys/class/drm/card[0-9]*"):
        number = os.path.basename(card)[4:]
        if number.isdigit() and text_of(f"{card}/device/vendor") == vendor:  # else an output: card0-HDMI-A-1
            found.append((int(number), f"{card}/device"))
    return [path for _, path in sorted(found)]


def text_of(path: str) -> str:
    """Answer what a small file holds, trimmed; nothing where it cannot be read."""
    file = File(path, 4096)
    text = file.read().decode(errors="replace").strip()
    file.close()
    return text


class Amd:
    """All AMD GPUs of the machine.

    Args:
        cards: Their folders.
    """

    def __init__(self, cards: list[str]) -> None:
        self._cards = cards
        self._files: list[tuple[str, File, float]] = []
        self._memory: list[tuple[str, File, File]] = []
        self._energy: dict[str, float] = {}
        for index, card in enumerate(cards):
            n = f"gpu.{index}."
            monitor = next(iter(sorted(glob.glob(f"{card}/hwmon/hwmon*"))), f"{card}/hwmon")
            power = "power1_average" if os.path.isfile(f"{monitor}/power1_average") else "power1_input"
            for name, path, factor in (
                ("utilization", f"{card}/gpu_busy_percent", 1.0),
                ("memory_utilization", f"{card}/mem_busy_percent", 1.0),
                ("temperature_celsius", f"{monitor}/temp1_input", 1e-3),
                ("memory_temperature_celsius", f"{monitor}/temp3_input", 1e-3),
                ("power_watts", f"{monitor}/{power}", 1e-6),
                ("sm_clock_mhz", f"{monitor}/freq1_input", 1e-6),
                ("memory_clock_mhz", f"{monitor}/freq2_input", 1e-6),
                ("energy_kwh", f"{monitor}/energy1_input", _KWH_PER_MICROJOULE),
            ):
                if os.path.isfile(path):
                    self._files.append((n + name, File(path, 64), factor))
            self._memory.append((n, File(f"{card}/mem_info_vram_used", 64), File(f"{card}/mem_info_vram_total", 64)))

    def sample(self, _now: float) -> Values:
        """Answer what all GPUs tell now."""
        found: Values = {}
        for name, file, factor in self._files:
            number = file.number()
            if number is None:
                continue
            if name.endswith("energy_kwh"):
                number -= self._energy.setdefault(name, number)
            found[name] = round(number * factor, 9)
        for prefix, used_file, total_file in self._memory:
            used, total = used_file.number(), total_file.number()
            if used is not None:
                found[prefix + "memory_used_bytes"] = used
                if total:
                    found[prefix + "memory_percent"] = round(100.0 * used / total, 2)
        return found

    def facts(self) -> dict[str, Any]:
        """Answer the devices."""
        gpus = []
        for index, card in enumerate(self._cards):
            total = self._memory[index][2].number()
            facts: dict[str, Any] = {
                "name": f"gpu.{index}",
                "model": text_of(f"{card}/product_name") or f"AMD {text_of(f'{card}/device')}",
                "uuid": text_of(f"{card}/unique_id"),
                "memory_bytes": None if total is None else int(total),
            }
            gpus.append({key: value for key, value in facts.items() if value})
        return {"gpus": gpus}

    def close(self) -> None:
        """Close all files."""
        for _, file, _ in self._files:
            file.close()
        for _, used, total in self._memory:
            used.close()
            total.close()
