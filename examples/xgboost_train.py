"""XGBoost in its own words: one callback keeps parameters, curves, the best round, importances, mistakes, the model."""

import numpy as np
import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import tracker
from tracker.integrations.xgboost import TrackerCallback


def main() -> None:
    """Train, cross-validate, and fit an estimator: three runs of one group."""
    data = load_breast_cancer()
    x_train, x_test, y_train, y_test = train_test_split(data.data, data.target, random_state=0)
    names = [name.replace(" ", "_") for name in data.feature_names]
    train = xgboost.DMatrix(x_train, y_train, feature_names=names)
    test = xgboost.DMatrix(x_test, y_test, feature_names=names)
    params = {"objective": "binary:logistic", "eval_metric": ["auc", "logloss"], "max_depth": 3, "eta": 0.2}
    callback = TrackerCallback(project="xgboost", group="breast-cancer")

    evals = [(train, "train"), (test, "validation")]
    xgboost.train(params, train, 200, evals=evals, early_stopping_rounds=10, verbose_eval=False, callbacks=[callback])
    print("best round:", tracker.run.summary["best_iteration"])  # the run stays open until the next training

    xgboost.cv(params, train, 50, nfold=5, callbacks=[callback])  # means as test/auc, deviations as test/auc.std

    model = xgboost.XGBClassifier(n_estimators=50, max_depth=2, callbacks=[callback])
    model.fit(x_train, y_train, eval_set=[(x_test, y_test)], verbose=False)
    model.score(x_test, y_test)  # goes into the same run, as validation_0/score
    mistakes = np.flatnonzero(model.predict(x_test) != y_test)
    tracker.log({"mistakes": len(mistakes)})
    tracker.finish()


if __name__ == "__main__":
    main()
