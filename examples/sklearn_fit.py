"""Train a classifier with scikit-learn; the script knows nothing of tracking but the one line at the top of `main`.

The same without that line: TRACKER_AUTOLOG=sklearn python sklearn_fit.py
"""

from __future__ import annotations

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tracker


def main() -> None:
    tracker.autolog("sklearn")
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    model.fit(x_train, y_train)  # opens a run: parameters, facts of the data, importances, the model

    print("accuracy", model.score(x_test, y_test))  # goes into that run, as test/score
    guesses = model.predict(x_test)
    print("f1", f1_score(y_test, guesses, average="macro"))  # test/f1_score_macro
    confusion_matrix(y_test, guesses)  # a chart

    tracker.sklearn.plot_roc(y_test, model.predict_proba(x_test))  # what W&B's function of this name draws
    tracker.finish()


if __name__ == "__main__":
    main()
