"""Code as users write it: it must type-check under `mypy --strict` against the installed package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tracker
from tracker.testing import read_runs


def with_a_block() -> None:
    with tracker.init(project="typed", config={"lr": 0.1}, tags=["a"], mode="offline") as run:
        run.log({"loss": 0.5, "accuracy": 1})
        run.log({"loss": 0.4}, step=1)
        run.define_metric("val/*", step_metric="epoch", summary="min")
        run.summary["best"] = 0.4
        name: str | None = run.name
        identity: str = run.id
        print(name, identity, run.config.lr)
    run.finish()


def with_media(array: Any, figure: Any) -> None:
    with tracker.init(project="typed") as run:
        classes = tracker.Classes([{"id": 1, "name": "cat"}])
        run.log({"image": tracker.Image(array, caption="a", classes=classes, masks={"m": {"mask_data": array}})})
        run.log({"figure": figure, "gallery": [tracker.Image(array), tracker.Image("a.png")]}, step=1)
        run.log({"sound": tracker.Audio(array, sample_rate=8000), "video": tracker.Video(array, fps=4, format="gif")})
        run.log({"counts": tracker.Histogram(array, num_bins=10), "page": tracker.Html("<b>", inject=False)})
    for image in tracker.Api().run(run.path).media("image"):
        data: bytes = image.read()
        print(image.step, image.caption, len(data))


def with_artifacts(path: Path) -> None:
    with tracker.init(project="typed") as run:
        artifact = tracker.Artifact("data", type="dataset", metadata={"rows": 3})
        artifact.add_file(path)
        artifact.add_dir(str(path), name="below")
        with artifact.new_file("notes.txt") as file:
            file.write("text")
        run.log_artifact(artifact, aliases=["best"]).wait(timeout=60)
        version: str = artifact.version
        used: tracker.Artifact = run.use_artifact("data:latest", type="dataset")
        folder: str = used.download()
        model: str = run.use_model("net:best")
        print(version, folder, model, [file.path for file in used.files()])
    for one in tracker.Api().artifacts("dataset", "typed/data"):
        print(one.qualified_name, [other.id for other in one.used_by()])


def tables_and_plots() -> list[dict[Any, Any]]:
    table = tracker.Table(columns=["id", "label"], data=[[1, "cat"]], log_mode="INCREMENTAL")
    table.add_data(2, "dog")
    labels: list[Any] = list(table.get_column("label"))
    with tracker.init(project="typed") as run:
        matrix = tracker.plot.confusion_matrix(y_true=[0, 1], preds=[0, 1], class_names=labels)
        run.log({"t": table, "matrix": matrix, "line": tracker.plot.line(table, "id", "label")})
    logged = tracker.Api().run(run.path).table("t").filter({"id": {"$gt": 1}}).sort("-id")
    return logged.group("label", {"n": "count"}).rows()


def at_module_level() -> None:
    tracker.init(project="typed")
    tracker.log({"loss": 0.5}, step=3, commit=True)
    tracker.watch(object(), log="all", log_freq=10)
    tracker.unwatch()
    tracker.flush()
    tracker.finish(exit_code=0)
    if tracker.run is not None:
        print(tracker.run.id)


def reading_back(folder: Path) -> list[float]:
    api = tracker.Api()
    for run in api.runs("typed", filters={"config.lr": 0.1}):
        print(run.id)
    rows: list[dict[str, Any]] = read_runs(folder)[0]["history"]
    return [row["loss"] for row in rows]


def catching() -> None:
    try:
        tracker.init(project="typed", mode="online")
    except tracker.UsageError as error:
        raise SystemExit(str(error)) from error
