"""The machine and the interpreter: facts that explain a run, all read from where they lie, without starting anything."""

from __future__ import annotations

import glob
import json
import os
import platform
import re
import sys
from collections.abc import Iterable
from typing import Any

_DRIVER = re.compile(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)")
# Those that decide what a training computes, by the names they are imported under.
FRAMEWORKS = (
    "torch", "torchvision", "tensorflow", "keras", "jax", "flax", "numpy", "scipy", "sklearn", "xgboost", "lightgbm",
    "catboost", "transformers", "accelerate", "datasets", "peft", "trl", "lightning", "pytorch_lightning", "fastai",
    "ultralytics", "stable_baselines3", "gymnasium", "ray", "deepspeed", "diffusers", "timm", "optuna", "pandas",
)  # fmt: skip
_NVIDIA_LIBRARIES = {"nvidia-cudnn": "cudnn", "nvidia-nccl": "nccl", "nvidia-cuda-runtime": "cuda_runtime"}


def machine_facts() -> dict[str, Any]:
    """Answer operating system, Python, processors, memory and graphics cards, by W&B's names where it has them."""
    model, cores = _processor()
    found: dict[str, Any] = {
        "os": _system(),
        "python": platform.python_version(),
        "python_implementation": platform.python_implementation(),
        "architecture": platform.machine(),
        "cpu": model or None,
        "cpu_count": cores,
        "cpu_count_logical": os.cpu_count(),
        "cpu_count_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory": {"total": total} if (total := _memory_bytes()) else None,
    }
    found.update(_nvidia())
    return {name: value for name, value in found.items() if value is not None}


def framework_facts() -> dict[str, Any]:
    """Answer the versions of the frameworks that the program has loaded so far; none is loaded for it."""
    found: dict[str, str] = {}
    for name in FRAMEWORKS:
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            found[name] = str(version)
    facts: dict[str, Any] = {"frameworks": found} if found else {}
    compiled = getattr(sys.modules.get("torch.version"), "cuda", None)
    if compiled:
        facts["cuda"] = {"torch": str(compiled)}
    return facts


def library_facts(requirements: Iterable[str]) -> dict[str, str]:
    """Answer the versions of CUDA's libraries that came as packages: cuDNN, NCCL, the runtime.

    Args:
        requirements: Lines like `nvidia-cudnn-cu12==9.1.0.70`.
    """
    found: dict[str, str] = {}
    for line in requirements:
        name, sign, version = line.partition("==")
        for prefix, short in _NVIDIA_LIBRARIES.items():
            if sign and name.startswith(prefix):
                found[short] = version
    return found


def _processor() -> tuple[str, int | None]:
    """Answer the processor's name, and how many real cores there are."""
    model = ""
    cores: set[tuple[str, str]] = set()
    package = ""
    for line in _text("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if name in ("model name", "Model", "Processor", "cpu model") and not model:
            model = value
        elif name == "physical id":
            package = value
        elif name == "core id":
            cores.add((package, value))
    if not model and not sys.platform.startswith("linux"):  # there it would start a program, and know no more
        model = platform.processor()
    return model, len(cores) or None


def _system() -> str:
    """Answer what `platform.platform()` does; on Linux it would start a program for a part that it leaves out again."""
    if not sys.platform.startswith("linux"):
        return platform.platform()
    told = platform.uname()
    return f"{told.system}-{told.release}-{told.machine}-with-{''.join(platform.libc_ver())}"


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # not on this system
        return None


def _nvidia() -> dict[str, Any]:
    """Answer what the driver's own files say: no library of it is loaded here, and nothing can hang in it."""
    found: dict[str, Any] = {}
    models = []
    for path in sorted(glob.glob("/proc/driver/nvidia/gpus/*/information")):
        for line in _text(path).splitlines():
            if line.startswith("Model:"):
                models.append(line.partition(":")[2].strip())
    if models:
        found["gpu"] = models[0] if len(set(models)) == 1 else ", ".join(models)
        found["gpu_count"] = len(models)
    if match := _DRIVER.search(_text("/proc/driver/nvidia/version")):
        found["gpu_driver"] = match[1]
    try:
        toolkit = json.loads(_text("/usr/local/cuda/version.json") or "{}")
        found["cudaVersion"] = str(toolkit["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        pass
    return found


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(4 << 20)
    except OSError:
        return ""
