"""Which of the processes that were launched together this one is."""

from __future__ import annotations

import os
import sys

# As launchers tell it: torchrun, Slurm, Open MPI, MPICH and Intel MPI, PMIx, MVAPICH, Flux.
_VARIABLES = (
    "RANK",
    "SLURM_PROCID",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "PMIX_RANK",
    "MV2_COMM_WORLD_RANK",
    "FLUX_TASK_RANK",
)


def rank() -> int:
    """Answer this process's rank among those launched together, from 0; 0 where it is alone."""
    return launched_rank() or 0


def launched_rank() -> int | None:
    """Answer this process's rank in a job of several; None where nobody says that it is in one.

    Asked anew each time: frameworks learn it late, when they join their process group. torch's group rules where it
    has been joined, then JAX's, then Ray's, then what the launcher has put into the environment, `TF_CONFIG` last: some
    platforms set it for every job.
    """
    for ask in (_torch_rank, _jax_rank, _ray_rank):
        try:
            found = ask()
        except Exception:  # noqa: S112 - half imported, or of a version that has this no more
            continue
        if found is not None:
            return found
    for name in _VARIABLES:
        text = os.environ.get(name, "").strip()
        if text.isdigit():
            return int(text)
    config = os.environ.get("TF_CONFIG")
    return _tensorflow_rank(config) if config else None


def _torch_rank() -> int | None:
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    return None


def _jax_rank() -> int | None:
    """Of one that `jax.distributed` knows of: else asking would start the devices."""
    distributed = getattr(sys.modules.get("jax"), "distributed", None)
    if distributed is None:
        return None
    if hasattr(distributed, "is_initialized"):
        is_initialized = distributed.is_initialized()
    else:  # an older JAX, whose own `is_initialized` asks the same
        is_initialized = sys.modules["jax._src.distributed"].global_state.client is not None
    return int(sys.modules["jax"].process_index()) if is_initialized else None


def _ray_rank() -> int | None:
    """Of a worker of Ray Train: its launcher puts nothing into the environment."""
    module = sys.modules.get("ray.train.v2._internal.execution.context")
    context = getattr(module, "_train_context", None)
    return None if context is None else int(context.get_world_rank())


def _tensorflow_rank(config: str) -> int | None:
    """Of a process of a cluster of TensorFlow: the chief is the first, or worker 0 where there is none.

    Those that do not train, parameter servers and evaluators, come behind all that do.

    Source: tf.distribute.cluster_resolver.TFConfigClusterResolver; multi_worker_util.id_in_cluster.
    """
    import json  # only where there is a cluster

    try:
        told = json.loads(config)
        cluster, task = dict(told.get("cluster") or {}), dict(told.get("task") or {})
        kind, index = str(task["type"]), int(task["index"])
        order = ["chief", "master", "worker", "ps"]
        before = order[: order.index(kind)] if kind in order else order
        place = sum(len(cluster.get(name) or ()) for name in before) + index
        if kind not in order[:3]:
            return max(place, 1)
        return None if sum(map(len, cluster.values())) < 2 else place
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
