"""Code as users write it; it must type-check against the installed package."""

import tracker
from tracker import Api, Run

run: Run = tracker.init(project="digits", config={"lr": 0.1}, tags=["a"], mode="offline")
run.log({"loss": 0.5}, step=3)
run.config.lr = 0.2
run.summary["best"] = 1.0
run.define_metric("val/*", step_metric="epoch", summary="min,max")
run.finish()
with tracker.init(settings={"silent": True}) as other:
    other.log({"loss": 1.0}, commit=False)
tracker.log({"x": 1})
tracker.finish()
current = tracker.run
if current is not None:
    print(current.id, current.name, current.url)
api = Api()
