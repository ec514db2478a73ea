"""Ray Tune searches for a good rate and depth: each trial is a run, and the runs of the search are one group."""

import os
import tempfile

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray import tune

from tracker.integrations.ray import TrackerCallback, setup_tracker


def fit(config: dict) -> None:
    """Walk down a bowl; what is reported comes into the trial's run by the callback, the rest by the run itself."""
    run = setup_tracker(config, project="search")
    x = 4.0
    for step in range(1, 21):
        gradient = 2 * x / config["depth"]
        x -= config["rate"] * gradient
        run.log({"gradient": gradient}, step=step)
        tune.report({"loss": x * x})


def main() -> None:
    """Search on a small cluster of this machine's own."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            fit,
            param_space={"rate": tune.grid_search([0.01, 0.1]), "depth": tune.grid_search([1, 2])},
            tune_config=tune.TuneConfig(metric="loss", mode="min"),
            run_config=tune.RunConfig(
                name="bowl", storage_path=folder, callbacks=[TrackerCallback(project="search")], verbose=0
            ),
        )
        best = tuner.fit().get_best_result()
    print("best:", best.config, best.metrics["loss"])
    ray.shutdown()


if __name__ == "__main__":
    main()
