"""Stable-Baselines3: the smallest trainings, and what came out of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import rendering
from stable_baselines3 import DQN, PPO
from stable_baselines3.common import base_class
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Figure, HParam, Image, KVWriter, Video
from stable_baselines3.common.vec_env import SubprocVecEnv

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations import gymnasium as gym_module
from tracker.integrations import patching, stable_baselines3
from tracker.integrations.stable_baselines3 import TrackerCallback

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]
Script = Callable[..., subprocess.CompletedProcess[str]]
SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "n_epochs": 1, "seed": 1, "device": "cpu"}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def ppo(env: Any = "CartPole-v1", **arguments: Any) -> PPO:
    """Answer a tiny algorithm."""
    return PPO("MlpPolicy", env, policy_kwargs={"net_arch": [4]}, **{**SMALL, **arguments})


class Recorder(KVWriter):
    """Keeps all that the logger writes, beside ours."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        """Keep one dump."""
        self.rows[step] = dict(key_values)


class Recording(BaseCallback):
    """Puts a recorder into the logger."""

    def __init__(self) -> None:
        super().__init__()
        self.recorder = Recorder()

    def _on_training_start(self) -> None:
        self.logger.output_formats.append(self.recorder)

    def _on_step(self) -> bool:
        return True


def rows(run: ReadRun, key: str) -> dict[Any, Any]:
    """Read a metric back, by step."""
    return {row["_step"]: row[key] for row in run.scan_history(keys=[key])}


def test_all_that_the_logger_records_is_logged_at_its_step(only_run: OnlyRun) -> None:
    recording = Recording()
    ppo().learn(96, callback=[TrackerCallback(project="rl"), recording])
    written = recording.recorder.rows
    tracker.finish()
    run = only_run()

    assert (run.project, run.state) == ("rl", "finished")
    assert list(written) == [32, 64, 96]
    for step, row in written.items():
        for key, value in row.items():
            assert rows(run, key)[step] == value, key


def test_what_the_last_update_records_is_not_lost(only_run: OnlyRun) -> None:
    """8.1 #1: on-policy algorithms record once more behind their last dump, which nobody writes."""
    model = ppo()
    model.learn(64, callback=TrackerCallback())
    last = dict(model.logger.name_to_value)
    tracker.finish()

    assert last["train/n_updates"] == 2
    assert rows(only_run(), "train/n_updates") == {64: 1, 65: 2}


def test_each_episode_of_each_environment_has_a_step_of_its_own(only_run: OnlyRun) -> None:
    """8.1 #1: episodes that end in the same call do not take each other's place."""
    model = ppo(make_vec_env("CartPole-v1", n_envs=3, env_kwargs={"max_episode_steps": 4}), n_steps=8, batch_size=24)
    model.learn(24, callback=TrackerCallback())
    tracker.finish()

    assert rows(only_run(), "episode/length") == dict.fromkeys([10, 11, 12, 22, 23, 24], 4)
    assert set(rows(only_run(), "episode/return").values()) == {4.0}


def test_the_algorithm_and_its_environment_are_the_config(only_run: OnlyRun) -> None:
    """8.1 #19: schedules, classes and named tuples are plain values."""
    DQN("MlpPolicy", "CartPole-v1", learning_starts=10, buffer_size=100, train_freq=(2, "step"), device="cpu").learn(
        40, callback=TrackerCallback()
    )
    tracker.finish()
    config = only_run().config

    assert config["args"]["algorithm"] == "DQN"
    assert config["args"]["policy"] == "DQNPolicy"
    assert (config["args"]["learning_rate"], config["args"]["buffer_size"]) == (0.0001, 100)
    assert config["args"]["train_freq"]["frequency"] == 2
    assert config["env"]["id"] == "CartPole-v1"
    assert (config["env"]["n_envs"], config["env"]["max_episode_steps"]) == (1, 500)
    assert config["model"]["parameters"] > 1000
    assert config["learn"]["total_timesteps"] == 40
    assert all(isinstance(value, (int, float, str, type(None), dict, bool)) for value in config["args"].values())


def test_a_schedule_that_was_a_number_is_that_number(only_run: OnlyRun) -> None:
    ppo(clip_range=0.3).learn(32, callback=TrackerCallback())
    tracker.finish()

    assert only_run().config["args"]["clip_range"] == 0.3


def test_a_schedule_of_the_frameworks_is_its_arguments(only_run: OnlyRun) -> None:
    schedules = pytest.importorskip("stable_baselines3.common.utils")
    if not hasattr(schedules, "LinearSchedule"):
        pytest.skip("this version has none")
    ppo(clip_range=schedules.LinearSchedule(0.3, 0.1, 0.5)).learn(32, callback=TrackerCallback())
    tracker.finish()

    assert only_run().config["args"]["clip_range"] == {
        "schedule": "LinearSchedule",
        "start": 0.3,
        "end": 0.1,
        "end_fraction": 0.5,
    }


def test_media_of_the_logger_are_ours(only_run: OnlyRun) -> None:
    """What TensorBoard shows of a training is kept as well, and no other kind of value breaks it."""
    from matplotlib import pyplot

    class Showing(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 8:
                quiet = ("stdout", "log", "json", "csv")
                figure, axes = pyplot.subplots()
                axes.plot([1, 2])
                self.logger.record("a/video", Video(torch.zeros(1, 3, 3, 8, 8, dtype=torch.uint8), fps=20), quiet)
                self.logger.record("a/image", Image(np.zeros((3, 8, 6), np.uint8), "CHW"), quiet)
                self.logger.record("a/figure", Figure(figure, close=True), quiet)
                self.logger.record("a/weights", np.arange(12.0), quiet)
                self.logger.record("a/hparams", HParam({"depth": 2}, {"score": 0.5}), quiet)
                self.logger.record("a/text", "hello", quiet)
                self.logger.record("a/secret", 1.0, exclude="tracker")
            return True

    ppo().learn(32, callback=[Showing(), TrackerCallback()])
    tracker.finish()
    run = only_run()
    last = next(row for row in run.scan_history() if row["_step"] == 32)

    assert (last["a/text"], last["a/hparams.depth"], last["a/hparams.score"]) == ("hello", 2, 0.5)
    assert [last[f"a/{name}"]["_type"] for name in ("video", "image", "figure", "weights")] == [
        "video-file",
        "image-file",
        "image-file",
        "histogram",
    ]
    assert (last["a/image"]["width"], last["a/image"]["height"]) == (6, 8)
    assert (last["a/video"]["frames"], last["a/video"]["fps"]) == (3, 20)
    assert "a/secret" not in last


def test_saved_models_are_versions_with_the_best_one_named(only_run: OnlyRun, tmp_path: Path) -> None:
    """8.1 #17: a file that is written over keeps each of its versions."""
    save = CheckpointCallback(save_freq=32, save_path=str(tmp_path / "models"))
    evaluate = EvalCallback(
        make_vec_env("CartPole-v1"), eval_freq=64, n_eval_episodes=1, best_model_save_path=str(tmp_path), verbose=0
    )
    model = ppo()
    model.learn(64, callback=[save, evaluate, TrackerCallback()])
    model.save(tmp_path / "final")
    model.save(tmp_path / "final")
    tracker.finish()
    run = only_run()
    versions = {(one.metadata["step"], tuple(one.aliases)) for one in run.logged_artifacts()}

    assert run.summary["eval/mean_reward"] > 0
    assert {step for step, _ in versions} == {32, 64}
    assert any("best" in aliases for _, aliases in versions)
    assert sum("latest" in aliases for _, aliases in versions) == 1


def test_nothing_is_saved_where_that_is_not_wanted(only_run: OnlyRun, tmp_path: Path) -> None:
    ppo().learn(32, callback=[CheckpointCallback(32, str(tmp_path)), TrackerCallback(log_model=False)])
    tracker.finish()

    assert list(tmp_path.iterdir())
    assert list(only_run().logged_artifacts()) == []


def test_the_end_of_training_is_saved_on_request(only_run: OnlyRun) -> None:
    model = ppo()
    model.learn(32, callback=TrackerCallback(log_model="end"))
    tracker.finish()
    (artifact,) = only_run().logged_artifacts()
    file = next(Path(artifact.download()).iterdir())
    loaded = PPO.load(file)

    assert torch.equal(loaded.policy.action_net.weight, model.policy.action_net.weight)


def test_a_training_that_raises_is_a_failed_run(only_run: OnlyRun) -> None:
    class Breaks(BaseCallback):
        def _on_step(self) -> bool:
            if self.n_calls == 40:
                raise ValueError("the environment is on fire")
            return True

    with pytest.raises(ValueError, match="on fire"):
        ppo().learn(96, callback=[Breaks(), TrackerCallback()])
    run = only_run()

    assert run.state == "failed"
    assert "on fire" in run.details["exit"]["reason"]
    assert rows(run, "time/iterations") == {32: 1}


def test_a_fault_of_ours_does_not_end_the_training(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """8.1 #7: the tracker's own trouble is said, and the training goes on."""
    monkeypatch.setenv("TRACKER_STRICT", "0")

    def broken(model: Any) -> dict[str, Any]:
        raise RuntimeError("no arguments here")

    monkeypatch.setattr(stable_baselines3, "_arguments", broken)
    model = ppo()
    model.learn(64, callback=TrackerCallback())

    assert model.num_timesteps == 64
    assert "no arguments here" in caplog.text


def test_the_users_own_run_stays_open(only_run: OnlyRun) -> None:
    with tracker.init() as run:
        ppo().learn(32, callback=TrackerCallback())
        assert run.state == "running"
        run.log({"after": 1})

    assert only_run().summary["after"] == 1
    assert only_run().summary["time/total_timesteps"] == 32


def test_a_second_training_is_a_run_of_its_own(read: Read) -> None:
    """8.1 #20: the same callback, used again, does not mix two trainings up."""
    callback = TrackerCallback()
    for _ in range(2):
        ppo().learn(32, callback=callback)
    tracker.finish()

    assert [rows(run, "time/iterations") for run in read()] == [{32: 1}, {32: 1}]


def test_a_second_training_in_the_users_run_goes_on_behind_the_first(only_run: OnlyRun) -> None:
    """8.1 #1: steps that begin at 0 again do not write over those that are there."""
    with tracker.init():
        callback = TrackerCallback()
        ppo().learn(64, callback=callback)
        ppo().learn(64, callback=callback)
    steps = list(rows(only_run(), "time/iterations"))

    assert len(steps) == 4
    assert steps == sorted(steps)
    assert list(rows(only_run(), "time/iterations").values()) == [1, 2, 1, 2]


def test_training_goes_on_in_the_same_run(only_run: OnlyRun) -> None:
    model = ppo()
    model.learn(32, callback=TrackerCallback())
    model.learn(32, callback=TrackerCallback(), reset_num_timesteps=False)
    tracker.finish()

    assert rows(only_run(), "time/total_timesteps") == {32: 32, 64: 64}


def test_a_model_that_is_loaded_goes_on_with_its_run(only_run: OnlyRun, tmp_path: Path) -> None:
    """8.1 #10: the run's id is in the saved model, and what came behind it is not shown twice."""
    model = ppo()
    model.learn(64, callback=[CheckpointCallback(32, str(tmp_path)), TrackerCallback()])
    tracker.finish()
    loaded = PPO.load(tmp_path / "rl_model_32_steps", env=gymnasium.make("CartPole-v1"), device="cpu")
    loaded.learn(64, callback=TrackerCallback(), reset_num_timesteps=False)
    tracker.finish()

    assert rows(only_run(), "time/total_timesteps") == {32: 32, 64: 64, 96: 96}


def test_a_model_that_is_loaded_and_begins_anew_is_another_run(read: Read, tmp_path: Path) -> None:
    """8.1 #20: a model to be tuned further is no resumed training."""
    model = ppo()
    model.learn(32, callback=TrackerCallback())
    model.save(tmp_path / "model")
    tracker.finish()
    PPO.load(tmp_path / "model", env=gymnasium.make("CartPole-v1"), device="cpu").learn(32, callback=TrackerCallback())
    tracker.finish()

    assert len({run.id for run in read()}) == 2


def test_environments_in_other_processes_are_not_disturbed(only_run: OnlyRun) -> None:
    """8.1 #8, #9: they inherit an open run, and neither hang nor make runs of their own."""
    with tracker.init():
        envs = make_vec_env("CartPole-v1", n_envs=2, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": "fork"})
        ppo(envs, n_steps=32, batch_size=64).learn(128, callback=TrackerCallback())
        envs.close()
    run = only_run()

    assert rows(run, "time/total_timesteps") == {64: 64, 128: 128}
    assert run.config["env"]["n_envs"] == 2
    assert rows(run, "episode/return")


def test_recorded_videos_are_logged(only_run: OnlyRun, tmp_path: Path) -> None:
    pytest.importorskip("moviepy")
    pytest.importorskip("pygame")
    gym_module._autolog(rendering)  # which leaves videos of a training to the training
    patching.ask(["gymnasium"], True)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "old-episode-9.mp4").write_bytes(b"of an earlier training")
    env = gymnasium.wrappers.RecordVideo(
        gymnasium.make("CartPole-v1", render_mode="rgb_array", max_episode_steps=9),
        str(tmp_path / "videos"),
        episode_trigger=lambda number: number in (0, 2),
        name_prefix="pole",
    )
    ppo(env).learn(64, callback=TrackerCallback())
    tracker.finish()
    videos = rows(only_run(), "videos/pole")

    assert [video["caption"] for video in videos.values()] == ["pole-episode-0", "pole-episode-2"]
    assert {video["format"] for video in videos.values()} == {"mp4"}
    assert set(videos) <= set(rows(only_run(), "episode/length"))
    assert "videos/old" not in only_run().summary


def test_nothing_is_logged_unless_asked_for(read: Read) -> None:
    """8.1 #22: being installed, and even hooked in, is not being wanted."""
    stable_baselines3._autolog(base_class)
    ppo().learn(32)

    assert read() == []


def test_autologging_needs_no_callback(only_run: OnlyRun) -> None:
    stable_baselines3._autolog(base_class)
    patching.ask(None, True)
    seen: list[int] = []
    model = ppo()
    model.learn(64, callback=lambda locals_, globals_: seen.append(model.num_timesteps) or True)
    tracker.finish()
    patching.unwrap("stable_baselines3")
    ppo().learn(32)

    assert len(seen) == 64
    assert rows(only_run(), "time/iterations") == {32: 1, 64: 2}


def test_an_unmodified_script_is_logged(script: Script, only_run: OnlyRun) -> None:
    """The start-up hook and the environment alone."""
    script(
        """
        from stable_baselines3 import PPO

        if __name__ == "__main__":
            model = PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32, n_epochs=1, device="cpu")
            model.learn(64)
            model.save("model")
        """,
        TRACKER_AUTOLOG="1",
    )
    run = only_run()

    assert run.state == "finished"
    assert rows(run, "time/total_timesteps") == {32: 32, 64: 64}
    assert len(list(run.logged_artifacts())) == 1


def test_autologging_adds_no_second_callback(only_run: OnlyRun) -> None:
    stable_baselines3._autolog(base_class)
    patching.ask(["stable_baselines3"], True)
    recording = Recording()
    ppo().learn(32, callback=[TrackerCallback(project="mine"), recording])
    tracker.finish()

    assert only_run().project == "mine"


def test_the_policy_is_watched_on_request(only_run: OnlyRun) -> None:
    ppo().learn(64, callback=TrackerCallback(log="gradients", log_freq=1))
    tracker.finish()

    assert [key for key in only_run().summary if key.startswith("gradients/")]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_training_is_told_so(interrupt: type[BaseException], only_run: OnlyRun) -> None:
    """8.1 #14: Ctrl-C is no success."""

    class Stops(BaseCallback):
        def _on_step(self) -> bool:
            raise interrupt(1)

    with pytest.raises(interrupt):
        ppo().learn(32, callback=[TrackerCallback(), Stops()])

    assert only_run().state in ("killed", "failed")


def test_the_class_can_be_pickled() -> None:
    import pickle

    assert pickle.loads(pickle.dumps(TrackerCallback)) is TrackerCallback
    assert os.environ["TRACKER_STRICT"] == "1"
