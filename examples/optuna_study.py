"""A study of Optuna: one run with all trials, and a run for each, in which the objective logs its curve."""

from __future__ import annotations

import optuna

import tracker
from tracker.integrations.optuna import TrackerCallback


def objective(trial: optuna.Trial) -> float:
    """Walk down a parabola; where the steps are too large, or too small, the pruner stops it."""
    rate = trial.suggest_float("rate", 1e-3, 1.2, log=True)
    x = 10.0
    for step in range(20):
        x -= rate * 2 * (x - 2)
        loss = (x - 2) ** 2
        tracker.log({"loss": loss}, step=step)  # into this trial's own run
        trial.report(loss, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


def main() -> None:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    callback = TrackerCallback(metric_name="loss", as_multirun=True, project="parabola")
    study.optimize(objective, n_trials=12, n_jobs=2, callbacks=[callback])
    run = tracker.run  # the study's, now that the trials are over
    assert run is not None
    tracker.finish()

    api = tracker.Api()
    for row in api.run(run.path).table("trials").sort("loss").rows(3):
        print(row["trial"], row["state"], row["params/rate"], row["loss"])
    pruned = api.runs(run.project, {"group": run.group, "tags": "pruned"})
    print(len(pruned), "of 12 were pruned")


if __name__ == "__main__":
    main()
