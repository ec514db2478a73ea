"""LightGBM with nothing said but one line: `tracker.autolog()` (or `TRACKER_AUTOLOG=1`, and not even that)."""

import lightgbm
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

import tracker


def main() -> None:
    """Try some depths: each training is a run of its own, of the same project and group."""
    tracker.autolog("lightgbm")
    data = load_wine(as_frame=True)
    x_train, x_test, y_train, y_test = train_test_split(data.data, data.target, random_state=0)
    for depth in (2, 3, 4):
        params = {"objective": "multiclass", "num_class": 3, "max_depth": depth, "verbosity": -1, "num_threads": 1}
        train = lightgbm.Dataset(x_train, y_train)
        test = lightgbm.Dataset(x_test, y_test, reference=train)
        stop = lightgbm.early_stopping(5, verbose=False)
        lightgbm.train(params, train, 100, valid_sets=[test], valid_names=["validation"], callbacks=[stop])
    tracker.finish()

    for run in tracker.Api().runs():
        best = run.summary["validation/multi_logloss.best"]
        print(f"depth {run.config['params']['max_depth']}: best loss {best:.4f} at {run.summary['best_iteration']}")


if __name__ == "__main__":
    main()
