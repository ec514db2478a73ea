"""CatBoost with two trainings in one run of yours: the second one's names begin with what you say."""

from catboost import CatBoostRegressor
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

import tracker
from tracker.integrations.catboost import TrackerCallback


def main() -> None:
    """Compare two losses."""
    data = load_diabetes(as_frame=True)
    x_train, x_test, y_train, y_test = train_test_split(data.data, data.target, random_state=0)
    with tracker.init(project="catboost") as run:
        for loss in ("RMSE", "MAE"):
            model = CatBoostRegressor(iterations=60, depth=4, loss_function=loss, verbose=0, allow_writing_files=False)
            callbacks = [TrackerCallback(prefix=loss.lower())]
            model.fit(x_train, y_train, eval_set=(x_test, y_test), callbacks=callbacks, early_stopping_rounds=10)
            model.score(x_test, y_test)  # R², as rmse/validation/score
        print(run.summary["rmse/validation/score"], run.summary["mae/validation/score"])


if __name__ == "__main__":
    main()
