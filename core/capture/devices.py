"""Which devices belong to this process, as `CUDA_VISIBLE_DEVICES` says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Device(NamedTuple):
    """A GPU, or an instance of one.

    Args:
        name: Its name in samples: "gpu.0", "gpu.0.mig.1".
        number: Its number, or that of the GPU it is an instance of.
        uuid: "GPU-..." or "MIG-...".
        parent: The `uuid` of the GPU it is an instance of; empty for a GPU.
        instances: GPU instance and compute instance of a MIG device: what its older names are made of.
    """

    name: str
    number: int
    uuid: str
    parent: str = ""
    instances: tuple[int, int] | None = None


def is_chosen(environ: Mapping[str, str]) -> bool:
    """Answer whether somebody has said which devices this process gets."""
    return "CUDA_VISIBLE_DEVICES" in environ


def own_devices(environ: Mapping[str, str], devices: Sequence[Device]) -> dict[str, int | None]:
    """Answer the devices that CUDA shows to this process, by name, with CUDA's number of each.

    The variable lists numbers, beginnings of UUIDs, or names of MIG instances; what is behind an entry that names
    nothing (-1, `NoDevFiles`, nothing at all) is not seen, as with CUDA, and nothing is where one is named twice. Numbers are taken in the order of the bus, which is CUDA's own where all GPUs of
    a machine are alike, or `CUDA_DEVICE_ORDER=PCI_BUS_ID` is set.

    Source: CUDA C++ Programming Guide, environment variables; NVIDIA Multi-Instance GPU User Guide.

    Args:
        environ: The environment variables.
        devices: All GPUs and instances of the machine.

    Returns:
        `{"gpu.3": 0}` where the variable is "3": torch's `cuda:0`. The instances of a GPU that is shown have no number.
    """
    text = environ.get("CUDA_VISIBLE_DEVICES")
    whole = [device for device in devices if not device.parent]
    if text is None:
        return _with_instances(whole, devices)
    found: list[Device] = []
    for entry in text.split(","):
        match = _named(entry.strip(), whole, devices)
        if match is None:
            break
        if match in found:
            return {}
        found.append(match)
    return _with_instances(found, devices)


def _named(entry: str, whole: Sequence[Device], devices: Sequence[Device]) -> Device | None:
    if entry.isdecimal():
        return next((device for device in whole if device.number == int(entry)), None)
    if entry.startswith("MIG-GPU-"):  # MIG-<UUID of the GPU>/<GPU instance>/<compute instance>
        parent, _, rest = entry[4:].partition("/")
        parts = rest.split("/")
        if len(parts) != 2 or not all(part.isdigit() for part in parts):
            return None
        wanted = (int(parts[0]), int(parts[1]))
        return next((device for device in devices if device.parent == parent and device.instances == wanted), None)
    matches = [device for device in devices if entry and device.uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def _with_instances(chosen: Sequence[Device], devices: Sequence[Device]) -> dict[str, int | None]:
    uuids = {device.uuid for device in chosen}
    found: dict[str, int | None] = {device.name: None for device in devices if device.parent in uuids}
    found.update({device.name: number for number, device in enumerate(chosen)})
    return found
