"""fastai learns from a table who is in which group; each row of the validation is kept with what was made of it."""

import numpy as np
import pandas as pd
from fastai.callback.tracker import SaveModelCallback
from fastai.metrics import accuracy
from fastai.tabular.all import Categorify, Normalize, TabularDataLoaders, tabular_learner

from tracker.integrations.fastai import TrackerCallback


def flowers(count: int) -> pd.DataFrame:
    """Answer rows of two measures, a place, and the kind of flower that these point to."""
    generator = np.random.default_rng(0)
    kind = generator.integers(0, 3, count)
    return pd.DataFrame(
        {
            "length": kind * 1.5 + generator.normal(size=count),
            "width": kind * -0.5 + generator.normal(size=count),
            "place": np.where(generator.random(count) < 0.7, kind, 3).astype(str),
            "kind": np.array(["aster", "daisy", "poppy"])[kind],
        }
    )


def main() -> None:
    """Train for a few epochs; the best model is a version of an artifact."""
    loaders = TabularDataLoaders.from_df(
        flowers(600),
        procs=[Categorify, Normalize],
        cat_names=["place"],
        cont_names=["length", "width"],
        y_names="kind",
        valid_idx=list(range(480, 600)),
        bs=64,
    )
    learn = tabular_learner(loaders, layers=[16], metrics=accuracy)
    learn.fit_one_cycle(4, 0.02, cbs=[TrackerCallback(project="flowers"), SaveModelCallback(fname="best")])


if __name__ == "__main__":
    main()
