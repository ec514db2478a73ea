"""Pipelines, made of small models that are never downloaded: what they generate is in the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, DiffusionPipeline, UNet2DModel
from diffusers.utils import BaseOutput

import tracker
from tracker.integrations import _own_loop, patching

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(autouse=True)
def autolog() -> Iterator[None]:
    """Autologging of pipelines; diffusers is as it was afterwards."""
    tracker.autolog("diffusers")
    yield
    tracker.autolog("diffusers", disable=True)
    _own_loop._sessions.clear()
    assert not hasattr(DDPMPipeline.__call__, "__tracker_framework__")
    assert "__init_subclass__" not in vars(DiffusionPipeline)


@pytest.fixture
def pipeline() -> Any:
    """A pipeline of eight pixels."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    made = DDPMPipeline(unet=unet, scheduler=DDPMScheduler(num_train_timesteps=10))
    made.set_progress_bar_config(disable=True)
    return made


def rows(run: Any) -> list[dict[str, Any]]:
    """Answer the history without the run's own columns, `_step` apart."""
    return [
        {key: value for key, value in row.items() if key not in ("_timestamp", "_runtime") and value is not None}
        for row in run.history(pandas=False)
    ]


def test_images_and_how_they_came_about(pipeline: Any, only_run: Callable[[], Any]) -> None:
    """Two calls, one run: pictures as they are, and one growing table of all of them."""
    first = pipeline(batch_size=2, num_inference_steps=2, generator=torch.Generator().manual_seed(7)).images
    pipeline(batch_size=1, num_inference_steps=3)
    tracker.finish()

    run = only_run()
    kept = rows(run)
    assert [row["_step"] for row in kept] == [1, 2]
    assert [len(row["generations/media"]) for row in kept] == [2, 1]
    pictures = [Image.open(BytesIO(one.read())) for one in run.media("generations/media")]
    assert np.array_equal(np.asarray(pictures[1].convert("RGB")), np.asarray(first[1]))
    table = run.table("generations/table").rows()
    assert [(row["step"], row["pipeline"], row["seed"]) for row in table] == [
        (1, "DDPMPipeline", 7),
        (1, "DDPMPipeline", 7),
        (2, "DDPMPipeline", None),
    ]
    assert [row["settings"] for row in table][1:] == [
        "batch_size=2, num_inference_steps=2",
        "batch_size=1, num_inference_steps=3",
    ]
    config = run.config["pipeline"]
    assert (config["class"], config["parts"]) == ("DDPMPipeline", {"unet": "UNet2DModel", "scheduler": "DDPMScheduler"})
    assert config["scheduler"]["num_train_timesteps"] == 10


class Prompted(DiffusionPipeline):
    """A pipeline of somebody's own, with prompts; it asks another one for its images."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def __call__(
        self, prompt: Any, negative_prompt: Any = None, num_images_per_prompt: int = 1, guidance_scale: float = 7.5
    ) -> Any:
        """Answer an image for each prompt."""
        count = (len(prompt) if isinstance(prompt, list) else 1) * num_images_per_prompt
        return self.inner(batch_size=count, num_inference_steps=1)


def test_prompts_of_a_pipeline_within_a_training(pipeline: Any, only_run: Callable[[], Any]) -> None:
    """The outermost call alone is kept, with its prompts, where the user's run stands."""
    with tracker.init(project="own") as run:
        run.log({"loss": 1.0}, step=41)
        Prompted(pipeline)(["a cat", "a dog"], negative_prompt="blurred", num_images_per_prompt=2)
        assert run.state == "running"

    kept = only_run()
    assert [row["caption"] for row in rows(kept)[-1]["generations/media"]] == ["a cat"] * 2 + ["a dog"] * 2
    assert rows(kept)[-1]["_step"] == 41
    table = kept.table("generations/table").rows()
    assert [(row["pipeline"], row["prompt"], row["negative_prompt"]) for row in table] == [
        ("Prompted", prompt, "blurred") for prompt in ("a cat", "a cat", "a dog", "a dog")
    ]
    assert table[0]["settings"] == "num_images_per_prompt=2, guidance_scale=7.5"


class Frames(BaseOutput):
    """What pipelines of videos answer."""

    frames: Any


class Moving(DiffusionPipeline):
    """A pipeline of videos."""

    def __call__(self, prompt: str) -> Any:
        """Answer one video of four frames."""
        return Frames(frames=np.random.default_rng(0).random((1, 4, 8, 8, 3)))


def test_videos(only_run: Callable[[], Any]) -> None:
    Moving()("a wave")
    tracker.finish()

    (row,) = rows(only_run())
    assert [(one["_type"], one["caption"]) for one in row["generations/media"]] == [("video-file", "a wave")]


def test_a_fault_of_ours_does_not_reach_the_user(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """8.1 #7."""
    monkeypatch.delenv("TRACKER_STRICT")
    monkeypatch.setattr("tracker.integrations.diffusers._config", None)

    assert len(pipeline(num_inference_steps=1).images) == 1
    assert "TypeError" in caplog.text


def test_an_error_of_the_pipeline_is_the_users(pipeline: Any, read: Callable[[], list[Any]]) -> None:
    with pytest.raises(TypeError, match="no_such_argument"):
        pipeline(no_such_argument=1)

    assert read() == []


def test_a_script_needs_nothing_but_the_variable(script: Any, only_run: Callable[[], Any]) -> None:
    script(
        """
        from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

        unet = UNet2DModel(sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
                           down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"))
        DDPMPipeline(unet=unet, scheduler=DDPMScheduler(num_train_timesteps=10))(num_inference_steps=2)
        """,
        TRACKER_AUTOLOG="1",
    )

    run = only_run()
    assert run.state == "finished"
    assert len(run.media("generations/media")) == 1


def test_patches_are_told() -> None:
    assert "diffusers.DiffusionPipeline: every pipeline that is defined" in [str(one) for one in patching.patched()]
