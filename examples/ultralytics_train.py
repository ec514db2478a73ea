"""Ultralytics learns to find bright squares in noise; losses, metrics, plots and the best weights are in the run."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from ultralytics import YOLO

from tracker.integrations.ultralytics import add_tracker_callback


def draw(folder: Path, count: int) -> None:
    """Draw pictures with a square in each, and write down where it is."""
    generator = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        picture = generator.integers(0, 90, (64, 64, 3), dtype=np.uint8)
        x, y = generator.integers(4, 40, 2)
        picture[y : y + 20, x : x + 20] = 255
        Image.fromarray(picture).save(folder / "images" / f"{number}.png")
        place = [(x + 10) / 64, (y + 10) / 64, 20 / 64, 20 / 64]
        (folder / "labels" / f"{number}.txt").write_text("0 " + " ".join(map(str, place)))


def main() -> None:
    """Train a small model from its description, with nothing downloaded."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "train", 16)
        draw(folder / "val", 8)
        data = folder / "squares.yaml"
        data.write_text(f"path: {folder}\ntrain: train/images\nval: val/images\nnames:\n  0: square\n")
        model = add_tracker_callback(YOLO("yolo11n.yaml"), project="squares")
        model.train(data=data, epochs=2, imgsz=64, batch=8, device="cpu", workers=0, project=name, verbose=False)


if __name__ == "__main__":
    main()
