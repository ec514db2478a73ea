"""Who runs are on a platform that names its jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracker
from tracker.core import platforms
from tracker.core.capture.cluster import cluster_facts
from tracker.core.settings import resolve
from tracker.testing import read_runs


@pytest.fixture
def sagemaker(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables of a container of SageMaker's, in a process that has begun no run yet."""
    monkeypatch.setattr(platforms, "_begun", 0)
    for name, value in {"TRAINING_JOB_NAME": "digits-2026-11-01", "SM_CURRENT_HOST": "algo-1"}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_a_job_that_is_started_again_goes_on_with_its_runs(sagemaker: pytest.MonkeyPatch, home: Path) -> None:
    """A spot instance is taken away and comes back under the same job: the same runs, one curve each."""
    for start in (0, 2):
        sagemaker.setattr(platforms, "_begun", 0)  # another process
        for scale in (1, 10):
            with tracker.init(project="p") as run:
                for step in range(start, start + 2):
                    run.log({"loss": scale * step}, step=step)
    found = {run["id"]: run for run in read_runs(home / "runs")}

    assert set(found) == {"digits-2026-11-01", "digits-2026-11-01-2"}
    assert [row["loss"] for row in found["digits-2026-11-01"]["history"]] == [0, 1, 2, 3]
    assert [row["loss"] for row in found["digits-2026-11-01-2"]["history"]] == [0, 10, 20, 30]


def test_other_hosts_and_ranks_have_names_of_their_own(sagemaker: pytest.MonkeyPatch) -> None:
    sagemaker.setenv("SM_CURRENT_HOST", "algo-2")
    sagemaker.setenv("RANK", "3")
    chosen = resolve()

    assert (chosen.run_id, chosen.group) == ("digits-2026-11-01-algo-2-rank3", "digits-2026-11-01")
    assert chosen.sources["run_id"] == "SageMaker"


def test_what_the_user_says_rules(sagemaker: pytest.MonkeyPatch) -> None:
    named = resolve({"name": "mine"})

    assert (named.name, named.run_id) == ("mine", "digits-2026-11-01")
    assert resolve({"id": "mine"}).run_id == "mine"
    assert resolve({"resume_from": "other?_step=1"}).run_id is None
    assert resolve({"resume": "never"}).run_id is None


def test_a_variable_of_that_name_alone_means_nothing(sagemaker: pytest.MonkeyPatch) -> None:
    sagemaker.delenv("SM_CURRENT_HOST")

    assert resolve().run_id is None


def test_names_are_made_fit(sagemaker: pytest.MonkeyPatch) -> None:
    sagemaker.setenv("TRAINING_JOB_NAME", "a/b: c")
    with tracker.init() as run:
        assert run.id == "a-b-c"


def test_platforms_are_told_in_the_environment() -> None:
    facts = cluster_facts(
        {
            "DATABRICKS_RUNTIME_VERSION": "16.4",
            "DB_CLUSTER_ID": "c1",
            "KFP_POD_NAME": "step-7",
            "TRAINING_JOB_NAME": "digits",
            "SM_HOSTS": '["algo-1"]',
            "DATABRICKS_TOKEN": "secret",
        }
    )

    assert facts["databricks"] == {"databricks_runtime_version": "16.4", "db_cluster_id": "c1"}
    assert facts["kubeflow"] == {"kfp_pod_name": "step-7"}
    assert facts["sagemaker"] == {"training_job_name": "digits", "sm_hosts": '["algo-1"]'}
    assert "secret" not in str(facts)
