"""The frameworks that log to tracker, as a table; it imports none of them.

A framework is supported when it has a line here and a file beside this one, named as the framework is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Integration:
    """One supported framework.

    Args:
        name: As the framework is imported; also the file here.
        classes: What users pass to the framework.
        versions: The supported versions, as a requirement specifier.
        distribution: What `pip install` takes.
        tier: 1 or 2: tested against the real framework; 3: a thin adapter.
        hooks: Module of the framework -> our function, called with the module once its body has run, always: they make
            a name known ("tracker" as a reporter), and have no other effect.
        autolog: The same, called only where autologging is asked for.
    """

    name: str
    classes: tuple[str, ...]
    versions: str
    distribution: str
    tier: int
    hooks: dict[str, str] = field(default_factory=dict)
    autolog: dict[str, str] = field(default_factory=dict)


INTEGRATIONS: tuple[Integration, ...] = (
    Integration(
        name="keras",
        classes=("TrackerCallback", "TrackerMetricsLogger", "TrackerModelCheckpoint", "TrackerEvalCallback"),
        versions=">=3.11",  # before it hooks are told the first batch of a call, not the last one
        distribution="keras",
        tier=1,
        autolog={"keras.src.models.model": "_autolog", "tf_keras.src.engine.training": "_autolog"},
    ),
    Integration(
        name="flax",
        classes=("TrackerWriter",),
        versions=">=0.8",
        distribution="flax",
        tier=2,
    ),
    Integration(
        name="fastai",
        classes=("TrackerCallback",),
        versions=">=2.8",
        distribution="fastai",
        tier=2,
        autolog={"fastai.learner": "_autolog"},
    ),
    Integration(
        name="gymnasium",
        classes=(),
        versions=">=1.0",
        distribution="gymnasium",
        tier=2,
        autolog={"gymnasium.wrappers.rendering": "_autolog"},
    ),
    Integration(
        name="ray",
        classes=("TrackerCallback", "TrackerTrainCallback", "setup_tracker"),
        versions=">=2.60",
        distribution="ray",
        tier=2,
    ),
    Integration(
        name="spacy",
        classes=("tracker_logger",),
        versions=">=3.8",
        distribution="spacy",
        tier=2,
        autolog={"spacy.training.loop": "_autolog"},
    ),
    Integration(
        name="stable_baselines3",
        classes=("TrackerCallback",),
        versions=">=2.4",
        distribution="stable-baselines3",
        tier=2,
        autolog={"stable_baselines3.common.base_class": "_autolog"},
    ),
    Integration(
        name="torch",
        classes=("TrackerHook", "track"),
        versions=">=2.4",
        distribution="torch",
        tier=1,
        autolog={"torch.optim.optimizer": "_autolog", "torch.amp.grad_scaler": "_autolog_scaler"},
    ),
    Integration(
        name="optuna",
        classes=("TrackerCallback",),
        versions=">=3.6",
        distribution="optuna",
        tier=2,
        autolog={"optuna.study.study": "_autolog"},
    ),
    Integration(
        name="sklearn",
        classes=("TrackerCallback",),
        versions=">=1.3",
        distribution="scikit-learn",
        tier=1,
        autolog={"sklearn.base": "patch_base", "sklearn.metrics": "patch_metrics"},
    ),
    Integration(
        name="tensorboard",
        classes=("patch", "unpatch", "log", "load"),
        versions=">=2.16.2",
        distribution="tensorboard",
        tier=1,
        autolog={
            "tensorboard.summary.writer.event_file_writer": "_autolog",
            "tensorboardX.event_file_writer": "_autolog",
            "tensorflow.python.ops.gen_summary_ops": "_autolog",
        },
    ),
    Integration(
        name="lightning",
        classes=("TrackerLogger", "TrackerCallback"),
        versions=">=2.5",  # 2.4 counts its steps wrong after a checkpoint in mid-epoch
        distribution="lightning",
        tier=1,
        hooks={
            "lightning.pytorch.trainer.connectors.logger_connector.logger_connector": "know_tracker",
            "lightning.pytorch.trainer.connectors.checkpoint_connector": "follow_checkpoints",
            "pytorch_lightning.trainer.connectors.logger_connector.logger_connector": "know_tracker",
            "pytorch_lightning.trainer.connectors.checkpoint_connector": "follow_checkpoints",
        },
        autolog={
            "lightning.pytorch.trainer.connectors.callback_connector": "autolog",
            "pytorch_lightning.trainer.connectors.callback_connector": "autolog",
            "lightning.fabric.fabric": "autolog",
            "lightning_fabric.fabric": "autolog",
        },
    ),
    Integration(
        name="pytorch_lightning",
        classes=("TrackerLogger", "TrackerCallback"),
        versions=">=2.5",
        distribution="pytorch-lightning",
        tier=1,
    ),
    Integration(
        name="accelerate",
        classes=("TrackerTracker",),
        versions=">=1.4",
        distribution="accelerate",
        tier=1,
        hooks={"accelerate.tracking": "_hook"},
        autolog={"accelerate.tracking": "_hook"},
    ),
    Integration(
        name="ultralytics",
        classes=("TrackerCallback", "add_tracker_callback"),
        versions=">=8.4",
        distribution="ultralytics",
        tier=2,
        autolog={"ultralytics.utils.callbacks": "_autolog"},
    ),
    Integration(
        name="xgboost",
        classes=("TrackerCallback",),
        versions=">=2.0",
        distribution="xgboost",
        tier=1,
        autolog={"xgboost.training": "autolog", "xgboost.sklearn": "autolog"},
    ),
    Integration(
        name="lightgbm",
        classes=("TrackerCallback",),
        versions=">=4.0",
        distribution="lightgbm",
        tier=2,
        autolog={"lightgbm.engine": "autolog", "lightgbm.sklearn": "autolog"},
    ),
    Integration(
        name="catboost",
        classes=("TrackerCallback",),
        versions=">=1.2",
        distribution="catboost",
        tier=2,
        autolog={"catboost.core": "autolog"},
    ),
    Integration(
        name="transformers",
        classes=("TrackerCallback",),
        versions=">=5.0",
        distribution="transformers",
        tier=1,
        hooks={
            "transformers.integrations.integration_utils": "_name_reporter",
            "transformers.trainer": "_follow_trainer",
            "trl.trainer.base_trainer": "_follow_cards_of",
            "trl.trainer.callbacks": "_follow_completions",
            "sentence_transformers.base.trainer": "_follow_cards_of",
        },
        autolog={"transformers.integrations.integration_utils": "_autolog"},
    ),
    Integration(
        name="diffusers",
        classes=(),
        versions=">=0.27",
        distribution="diffusers",
        tier=2,
        autolog={"diffusers.pipelines.pipeline_utils": "_autolog"},
    ),
    Integration(
        name="composer",
        classes=("TrackerLogger",),
        versions=">=0.32",
        distribution="mosaicml",
        tier=3,
    ),
    Integration(
        name="langchain_core",
        classes=("TrackerCallback",),
        versions=">=1.8",
        distribution="langchain-core",
        tier=3,
    ),
    Integration(
        name="llama_index",
        classes=("TrackerEventHandler",),
        versions="",
        distribution="llama-index-core",
        tier=3,
    ),
    Integration(
        name="metaflow",
        classes=("tracker_log",),
        versions=">=2.19",
        distribution="metaflow",
        tier=3,
    ),
    Integration(
        name="openai",
        classes=("log_calls",),
        versions=">=3.52",
        distribution="openai",
        tier=3,
    ),
    Integration(
        name="sagemaker",
        classes=("hyperparameters",),
        versions="",
        distribution="sagemaker",
        tier=3,
    ),
)
