"""Gymnasium: videos of episodes come into the run that is open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gymnasium
import pytest
from gymnasium.wrappers import rendering

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations import gymnasium as ours
from tracker.integrations import patching

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]


def play(folder: Path, episodes: int = 3) -> list[int]:
    """Play a few episodes, filmed, and answer how long each was."""
    pytest.importorskip("moviepy")
    pytest.importorskip("pygame")
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array", max_episode_steps=7)
    env = rendering.RecordVideo(env, str(folder), episode_trigger=lambda number: number != 1)
    lengths = []
    for _ in range(episodes):
        env.reset(seed=1)
        is_over, length = False, 0
        while not is_over:
            _, _, terminated, truncated, _ = env.step(0)
            is_over, length = terminated or truncated, length + 1
        lengths.append(length)
        if tracker.run is not None:
            tracker.log({"length": length})
    env.close()
    return lengths


def test_a_video_goes_into_the_row_that_follows_it(only_run: OnlyRun, tmp_path: Path) -> None:
    ours._autolog(rendering)
    patching.ask(["gymnasium"], True)
    with tracker.init():
        play(tmp_path)
    rows = [row for row in only_run().scan_history() if "videos/rl-video" in row]

    assert [row["videos/rl-video"]["caption"] for row in rows] == ["rl-video-episode-0", "rl-video-episode-2"]
    assert {row["videos/rl-video"]["format"] for row in rows} == {"mp4"}
    assert [row["_step"] for row in rows] == [1, 3]  # a recording ends with the next reset, or with the environment


def test_without_a_run_or_without_being_asked_nothing_is_logged(read: Read, tmp_path: Path) -> None:
    """8.1 #22: filming alone opens no run."""
    ours._autolog(rendering)
    with tracker.init():
        play(tmp_path / "a", episodes=1)
    patching.ask(["gymnasium"], True)
    play(tmp_path / "b", episodes=1)
    (run,) = read()

    assert "videos/rl-video" not in run.summary
    assert list((tmp_path / "b").glob("*.mp4"))


def test_a_run_can_ask_for_videos_itself(only_run: OnlyRun, tmp_path: Path) -> None:
    """`monitor_gym=True`, W&B's name for it, while the run is open and no longer."""
    with tracker.init(monitor_gym=True):
        play(tmp_path / "a", episodes=1)

    assert only_run().summary["videos/rl-video"]["caption"] == "rl-video-episode-0"
    assert not patching.is_autologging("gymnasium")
    assert patching.patched() == []


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("rl-video-episode-0.mp4", "videos/rl-video"),
        ("a/b/pole-step-40-to-step-80.mp4", "videos/pole"),
        ("eval-step-1000.mp4", "videos/eval"),
        ("step-by-step.mp4", "videos/step-by-step"),
    ],
)
def test_videos_of_a_recorder_have_one_name(file: str, name: str) -> None:
    assert ours.video_name(file) == name


def test_a_folder_tells_what_is_new_and_what_was_written_again(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").write_bytes(b"1")
    folder = ours.VideoFolder(tmp_path)
    later = ours.VideoFolder(tmp_path / "later")
    first = list(folder.new())
    (tmp_path / "a-episode-1.mp4").write_bytes(b"1")
    (tmp_path / "a-episode-1.meta.json").write_bytes(b"{}")
    second = list(folder.new())
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "b.mp4").write_bytes(b"1")

    assert first == []
    assert second == [("videos/a", str(tmp_path / "a-episode-1.mp4"))]
    assert list(folder.new()) == []
    assert list(later.new()) == [("videos/b", str(tmp_path / "later" / "b.mp4"))]
