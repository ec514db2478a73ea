"""Three runs in a row: one makes a dataset, one trains on it, one evaluates the model. Who came of what is kept."""

import json
from pathlib import Path

import tracker

PROJECT = "artifact-pipeline"


def prepare() -> None:
    """Make the dataset: points on a line."""
    with tracker.init(project=PROJECT, job_type="prepare") as run:
        artifact = tracker.Artifact("points", type="dataset", metadata={"rows": 50})
        with artifact.new_file("points.json") as file:
            json.dump([(x / 50, 3 * x / 50 + 1) for x in range(50)], file)
        run.log_artifact(artifact)
        run.log({"rows": 50})


def train(lr: float) -> None:
    """Fit a line to the dataset, and log the model."""
    with tracker.init(project=PROJECT, job_type="train", config={"lr": lr}) as run:
        folder = Path(run.use_artifact("points:latest", type="dataset").download())
        points = json.loads((folder / "points.json").read_text())
        slope = offset = 0.0
        for _ in range(200):
            errors = [(x, slope * x + offset - y) for x, y in points]
            slope -= lr * sum(2 * e * x for x, e in errors) / len(points)
            offset -= lr * sum(2 * e for _, e in errors) / len(points)
            run.log({"loss": sum(e * e for _, e in errors) / len(points)})
        Path("line.json").write_text(json.dumps({"slope": slope, "offset": offset}))
        run.log_model("line.json", name="line", aliases=[f"lr-{lr}"])


def evaluate(alias: str) -> None:
    """Look how good the model is, and put it into the registry."""
    with tracker.init(project=PROJECT, job_type="evaluate") as run:
        model = run.use_artifact(f"line:{alias}")
        line = json.loads((Path(model.download()) / "line.json").read_text())
        run.log({"error": abs(line["slope"] - 3) + abs(line["offset"] - 1)})
        run.link_artifact(model, "model/line", aliases=["production"])


def main() -> None:
    """Run the stages, and print what the model in production came from."""
    prepare()
    for lr in (0.1, 0.5):
        train(lr)
    evaluate("lr-0.5")
    for node in tracker.Api().lineage(artifact=f"{PROJECT}/line:lr-0.5", direction="up").nodes:
        print(node.kind, node.path)


if __name__ == "__main__":
    main()
