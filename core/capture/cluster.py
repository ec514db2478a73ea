"""Where the process runs: scheduler, launcher, container. Of the environment only what is named here is read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..redaction import redact

# Facts by where they come from: the variables without their common beginning.
_SLURM = (
    "JOB_ID JOB_NAME JOB_PARTITION JOB_NODELIST JOB_NUM_NODES JOB_ACCOUNT JOB_QOS JOB_GPUS JOB_START_TIME JOB_END_TIME "
    "NNODES NTASKS NTASKS_PER_NODE PROCID LOCALID NODEID STEP_ID CPUS_PER_TASK CPUS_ON_NODE GPUS GPUS_ON_NODE "
    "GPUS_PER_NODE MEM_PER_NODE MEM_PER_CPU ARRAY_JOB_ID ARRAY_TASK_ID RESTART_COUNT CLUSTER_NAME SUBMIT_DIR SUBMIT_HOST"
)
_FOUND_BY = {
    "slurm": ("SLURM_", _SLURM),
    "pbs": ("PBS_", "JOBID JOBNAME QUEUE NODENUM O_WORKDIR ARRAY_INDEX"),
    "lsf": ("LSB_", "JOBID JOBNAME QUEUE JOBINDEX HOSTS"),
    "sge": ("", "JOB_ID SGE_TASK_ID SGE_CLUSTER_NAME"),
    "torchrun": (
        "",
        "RANK LOCAL_RANK GROUP_RANK NODE_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT "
        "TORCHELASTIC_RUN_ID TORCHELASTIC_RESTART_COUNT TORCHELASTIC_MAX_RESTARTS",
    ),
    "mpi": ("OMPI_COMM_WORLD_", "RANK SIZE LOCAL_RANK LOCAL_SIZE NODE_RANK"),
    "kubernetes": ("", "POD_NAME POD_NAMESPACE POD_UID NODE_NAME JOB_COMPLETION_INDEX"),
    "sagemaker": ("", "TRAINING_JOB_NAME TRAINING_JOB_ARN SM_HOSTS SM_CURRENT_HOST SM_CURRENT_INSTANCE_TYPE SM_NUM_GPUS"),
    "databricks": (
        "",
        "DATABRICKS_RUNTIME_VERSION DB_CLUSTER_ID DB_CLUSTER_NAME DB_INSTANCE_TYPE DB_IS_DRIVER DB_IS_JOB_CLUSTER",
    ),
    "kubeflow": ("", "KUBEFLOW_TRAINER_SERVER_URL KFP_POD_NAME KFP_POD_UID KFP_RUN_ID"),
    "ray": ("RAY_", "JOB_ID NODE_ID"),
    "github_actions": ("GITHUB_", "RUN_ID RUN_ATTEMPT REPOSITORY REF SHA WORKFLOW JOB"),
    "gitlab_ci": ("CI_", "JOB_ID PIPELINE_ID PROJECT_PATH COMMIT_SHA COMMIT_REF_NAME"),
}  # fmt: skip
# Without these, some of the variables above mean something else, or nothing.
_NEEDED = {"torchrun": "WORLD_SIZE", "sge": "SGE_TASK_ID", "kubernetes": "KUBERNETES_SERVICE_HOST",
           "sagemaker": "TRAINING_JOB_NAME", "databricks": "DATABRICKS_RUNTIME_VERSION", "github_actions": "GITHUB_ACTIONS", "gitlab_ci": "GITLAB_CI"}  # fmt: skip
# What changes what a program computes, or on what.
REPRODUCING = (
    "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "PYTHONHASHSEED", "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_LAUNCH_BLOCKING", "CUDA_DEVICE_ORDER", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NVIDIA_TF32_OVERRIDE",
    "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ENABLE_MPS_FALLBACK", "TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC",
    "XLA_FLAGS", "JAX_PLATFORMS", "TOKENIZERS_PARALLELISM", "CUDA_HOME",
)  # fmt: skip
_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
_MAX_VALUE_CHARS = 500


def cluster_facts(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Answer what schedulers and launchers tell of this process, by their names.

    Args:
        environment: The variables of the process.
    """
    found: dict[str, Any] = {}
    for name, (prefix, variables) in _FOUND_BY.items():
        if name in _NEEDED and _NEEDED[name] not in environment:
            continue
        facts = _chosen(environment, variables.split(), prefix)
        if facts:
            found[name] = facts
    if "KUBERNETES_SERVICE_HOST" in environment:
        facts = found.setdefault("kubernetes", {})
        facts.setdefault("pod_name", _shown(environment.get("HOSTNAME", "")))
        if namespace := _first_line(_NAMESPACE):
            facts.setdefault("pod_namespace", namespace)
    return found


def reproducing_variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Answer the variables that change what a program computes."""
    return {name: _shown(environment[name]) for name in REPRODUCING if name in environment}


def container_facts(environment: Mapping[str, str] = os.environ) -> dict[str, Any] | None:
    """Answer what is known of the container: its runtime, id, image, and the image's digest where that was told."""
    found: dict[str, Any] = {}
    told = environment.get("TRACKER_DOCKER") or environment.get("WANDB_DOCKER")
    if told:  # whoever starts the container knows its image; from within it cannot be seen
        found["image"] = _shown(told)
        if "@sha256:" in told:
            found["digest"] = told.partition("@")[2]
    for name in ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"):
        if name in environment:
            found.setdefault("runtime", "apptainer")
            found.setdefault("image", _shown(environment[name]))
    if os.path.exists("/run/.containerenv"):  # podman tells root what it is
        found.setdefault("runtime", "podman")
        for line in _text("/run/.containerenv").splitlines():
            name, _, value = line.partition("=")
            if name in ("image", "imageid", "id") and value:
                found.setdefault({"imageid": "image_id"}.get(name, name), value.strip('"'))
    elif os.path.exists("/.dockerenv"):
        found.setdefault("runtime", "docker")
    elif "KUBERNETES_SERVICE_HOST" in environment:
        found.setdefault("runtime", "kubernetes")
    if found and "id" not in found:
        for path in ("/proc/self/cgroup", "/proc/self/mountinfo"):
            lines = [line for line in _text(path).splitlines() if path.endswith("cgroup") or "/containers/" in line]
            if match := _CONTAINER_ID.search("\n".join(lines)):
                found["id"] = match[0]
                break
    return found or None


def _chosen(environment: Mapping[str, str], names: Iterable[str], prefix: str) -> dict[str, str]:
    return {
        name.lower(): _shown(environment[prefix + name]) for name in names if environment.get(prefix + name, "") != ""
    }


def _shown(value: str) -> str:
    return redact(value[:_MAX_VALUE_CHARS])


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(256 << 10)
    except OSError:
        return ""


def _first_line(path: str) -> str:
    return _text(path).partition("\n")[0].strip()[:_MAX_VALUE_CHARS]
