"""Sounds, videos, pages, things in space, molecules and texts: kept, read back, and refused where they are broken."""

from __future__ import annotations

import io
import json
import tempfile
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tracker
from tracker.core.blobs import FolderBlobs
from tracker.core.media.base import digests_in
from tracker.core.values import Reference, Unstorable

from .conftest import Logged

Log = Callable[..., Logged]

TONE = np.sin(np.linspace(0, 100, 1000)) * 0.9


def without_digest(reference: dict[str, Any], *more: str) -> dict[str, Any]:
    """Answer what a reference says beside its bytes."""
    return {key: value for key, value in reference.items() if key not in ("digest", "size", *more)}


# --- sounds ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "width", "expected"),
    [
        (TONE, 2, (TONE * 32767).round()[:, None]),
        (TONE.astype(np.float32), 2, (TONE * 32767).round()[:, None]),
        (np.stack([TONE, -TONE], 1), 2, (np.stack([TONE, -TONE], 1) * 32767).round()),
        (np.stack([TONE, -TONE]), 2, (np.stack([TONE, -TONE], 1) * 32767).round()),
        (np.arange(-500, 500, dtype=np.int16), 2, np.arange(-500, 500)[:, None]),
        (np.arange(-500, 500, dtype=">i2"), 2, np.arange(-500, 500)[:, None]),
        (np.arange(-500, 500) * 60, 2, (np.arange(-500, 500) * 60)[:, None]),
        (np.arange(-500, 500, dtype=np.int32) << 20, 4, (np.arange(-500, 500) << 20)[:, None]),
        (np.arange(250, dtype=np.uint8), 1, np.arange(250)[:, None]),
        (np.arange(-100, 100, dtype=np.int8), 1, (np.arange(-100, 100) + 128)[:, None]),
        ((np.arange(1000) + 32000).astype(np.uint16), 2, (np.arange(1000) - 768)[:, None]),
        (TONE.tolist(), 2, (TONE * 32767).round()[:, None]),
    ],
)  # fmt: skip
def test_samples_become_wav(log: Log, samples: Any, width: int, expected: Any) -> None:
    """With channels first or last, and whatever the numbers are."""
    logged = log({"sound": tracker.Audio(samples, sample_rate=8000, caption="a tone")})
    reference = logged.value("sound")

    with wave.open(io.BytesIO(logged.bytes_of(reference))) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, width, expected.shape[1])
        got = np.frombuffer(file.readframes(10**6), {1: "u1", 2: "<i2", 4: "<i4"}[width]).reshape(expected.shape)
    assert np.abs(got - expected).max() <= (1 if np.asarray(samples).dtype.kind == "f" else 0)
    assert without_digest(reference) == {
        "_type": "audio-file", "format": "wav", "sample_rate": 8000, "channels": expected.shape[1],
        "duration": expected.shape[0] / 8000, "caption": "a tone",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"fLaC\0\0", "flac"),
        (b"ID3\x04", "mp3"),
        (b"\xff\xfb\x90", "mp3"),
        (b"OggS\0", "ogg"),
        (b"\0\0\0 ftypM4A ", "m4a"),
    ],
)
def test_sound_files_are_kept_as_they_are(log: Log, tmp_path: Path, head: bytes, format: str) -> None:
    """Known by how they begin, whatever their name is."""
    path = tmp_path / "sound.dat"
    path.write_bytes(head + bytes(1000))
    logged = log({"path": tracker.Audio(str(path)), "bytes": tracker.Audio(path.read_bytes())})

    assert logged.value("path") == logged.value("bytes")
    assert logged.value("path")["format"] == format
    assert logged.bytes_of(logged.value("path")) == head + bytes(1000)


def test_a_wav_file_tells_of_itself(log: Log) -> None:
    """Also one that was logged before."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(100)
        file.writeframes(bytes(4 * 250))
    logged = log({"sound": tracker.Audio(target)})

    assert without_digest(logged.value("sound")) == {
        "_type": "audio-file", "format": "wav", "sample_rate": 100, "channels": 2, "duration": 2.5
    }  # fmt: skip


def test_loud_and_broken_samples_are_said(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    """And kept, as far as they can be."""
    logged = log({"sound": tracker.Audio(np.array([0.5, np.nan, 3.0, -np.inf]), sample_rate=8)})

    with wave.open(io.BytesIO(logged.bytes_of(logged.value("sound")))) as file:
        assert np.frombuffer(file.readframes(9), "<i2").tolist() == [16384, 0, 32767, 0]
    assert "'sound' at step 0 has 2 samples that are NaN or infinite among its 4; they are silent." in caplog.text
    assert "'sound' at step 0 has samples up to 3; what is beyond -1 to 1 is cut off." in caplog.text


# --- videos ----------------------------------------------------------------------------------

FRAMES = np.stack([np.full((3, 20, 31), 25 * moment, np.uint8) for moment in range(8)])


@pytest.mark.parametrize(
    ("frames", "size"),
    [
        (FRAMES, (31, 20)),
        (FRAMES.transpose(0, 2, 3, 1), (31, 20)),
        (FRAMES[:, 0], (31, 20)),
        (FRAMES[:, :1], (31, 20)),
        (np.stack([FRAMES, FRAMES]), (64, 20)),
        (FRAMES / 255, (31, 20)),
    ],
    ids=["channels first", "channels last", "grey", "one channel", "batch", "floats"],
)
def test_frames_become_a_gif(log: Log, frames: Any, size: tuple[int, int]) -> None:
    """That others read, frame by frame, with its speed."""
    pillow = pytest.importorskip("PIL.Image")
    logged = log({"video": tracker.Video(frames, caption="c", fps=20)})
    reference = logged.value("video")

    with pillow.open(io.BytesIO(logged.bytes_of(reference))) as image:
        assert (image.format, image.size, image.n_frames, image.info["duration"]) == ("GIF", size, 8, 50)
        image.seek(4)
        assert abs(image.convert("RGB").getpixel((5, 5))[0] - 100) <= 2
    assert without_digest(reference, "thumb") == {
        "_type": "video-file", "format": "gif", "width": size[0], "height": size[1], "frames": 8, "fps": 20,
        "caption": "c",
    }  # fmt: skip
    assert reference["thumb"]["width"] == size[0]
    assert logged.bytes_of(reference["thumb"])


@pytest.mark.parametrize("format", ["mp4", "webm"])
def test_frames_become_a_video_where_there_is_a_codec(log: Log, format: str) -> None:
    """Its sides are even, as codecs want them."""
    av = pytest.importorskip("av")
    logged = log({"video": tracker.Video(FRAMES, fps=10, format=format)})
    reference = logged.value("video")

    with av.open(io.BytesIO(logged.bytes_of(reference))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert (len(frames), frames[0].shape) == (8, (20, 32, 3))
    assert np.abs(frames[4].astype(int) - 100).max() <= 12
    assert (reference["format"], reference["width"]) == (format, 31)


def test_without_a_codec_it_is_a_gif(
    log: Log, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that is said, with what to install."""
    pytest.importorskip("PIL")
    for name in ("av", "imageio", "imageio.v3"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    logged = log({"video": tracker.Video(FRAMES, format="mp4")})

    assert logged.value("video")["format"] == "gif"
    assert "is kept as GIF: format='mp4' needs PyAV. Install it: pip install av." in caplog.text


@pytest.mark.parametrize(
    ("head", "format"),
    [(b"\0\0\0\x18ftypisom", "mp4"), (b"\x1a\x45\xdf\xa3", "webm"), (b"GIF89a\x1f\0\x14\0", "gif"), (b"OggS", "ogv")],
)
def test_video_files_are_kept_as_they_are(log: Log, tmp_path: Path, head: bytes, format: str) -> None:
    """Whatever their name is; and they may be deleted right after."""
    path = tmp_path / "video"
    path.write_bytes(head + bytes(1000))
    video = tracker.Video(path, caption="c")
    path.unlink()
    logged = log({"video": video})

    assert (logged.value("video")["format"], logged.value("video")["caption"]) == (format, "c")
    assert logged.bytes_of(logged.value("video")) == head + bytes(1000)


# --- large files -----------------------------------------------------------------------------


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as large from 1,000 bytes on, and blobs are cut at 3,000."""
    monkeypatch.setattr("tracker.core.media.content.MAX_FILE_IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr("tracker.core.media.content.MAX_BLOB_BYTES", 3000)
    monkeypatch.setattr("tracker.core.media.content.BLOB_PART_BYTES", 1500)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("size", [2000, 10_000])
def test_a_large_file_may_go_right_after(log: Log, tmp_path: Path, size: int) -> None:
    """Deleted, or another one put in its place: what was logged is kept, in parts where it is very large."""
    data = b"OggS" + np.random.default_rng(0).bytes(size)
    path, other = tmp_path / "video", tmp_path / "other"
    path.write_bytes(data)
    first = tracker.Video(path)
    other.write_bytes(b"OggS" + bytes(size))
    other.rename(path)
    second = tracker.Video(path)
    path.unlink()
    logged = log({"first": first, "second": second, "bytes": tracker.Video(data)})

    assert logged.bytes_of(logged.value("first")) == data
    assert logged.bytes_of(logged.value("second")) == b"OggS" + bytes(size)
    assert logged.value("first") == logged.value("bytes")
    assert ("parts" in logged.value("first")) is (size > 3000)
    assert logged.value("first")["size"] == len(data)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("size", [2000, 10_000])
def test_a_large_file_that_is_written_over_is_told(
    log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    """Never kept as something that it was not."""
    path = tmp_path / "video"
    path.write_bytes(b"OggS" + bytes(size))
    video = tracker.Video(path)
    path.write_bytes(b"OggS" + bytes(size + 1))
    logged = log({"video": video, "loss": 1.0})

    assert "which was written to before it could be stored" in caplog.text
    assert logged.rows == [{"_step": 0, "loss": 1.0}]


@pytest.mark.usefixtures("small_limits")
def test_few_files_are_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond them is read into memory."""
    monkeypatch.setattr("tracker.core.media.content.MAX_OPEN_MEDIA_FILES", 3)
    path = tmp_path / "video"
    path.write_bytes(b"OggS" + bytes(2000))
    videos = [tracker.Video(path) for _ in range(5)]

    assert [len(list(video.snapshot().held())) for video in videos] == [0, 0, 0, 1, 1]  # type: ignore[union-attr]


# --- pages -----------------------------------------------------------------------------------


def test_pages_are_kept(log: Log, tmp_path: Path) -> None:
    """From a text, an open file, and a file; with a plain style in their heads unless it is not wanted."""
    page = "<html><head><title>t</title></head><body>é</body></html>"
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    logged = log(
        {
            "text": tracker.Html(page, inject=False), "open": tracker.Html(io.StringIO(page), inject=False),
            "path": tracker.Html(str(path), inject=False), "Path": tracker.Html(path, inject=False),
            "injected": tracker.Html(page), "piece": tracker.Html("<b>bold</b>"),
            "literal": tracker.Html(str(path), inject=False, data_is_not_path=True),
        }
    )  # fmt: skip

    for key in ("text", "open", "path", "Path"):
        assert logged.bytes_of(logged.value(key)).decode() == page
    assert without_digest(logged.value("text")) == {"_type": "html-file", "format": "html"}
    injected = logged.bytes_of(logged.value("injected")).decode()
    assert injected.startswith('<html><head><base target="_blank">')
    assert injected.endswith("<title>t</title></head><body>é</body></html>")
    assert logged.bytes_of(logged.value("piece")).endswith(b"<body><b>bold</b></body></html>")
    assert logged.bytes_of(logged.value("literal")).decode() == str(path)


# --- things in space -------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [3, 4, 6])
def test_points_are_kept(log: Log, columns: int) -> None:
    """As 32-bit floats, one point behind the other."""
    points = np.random.default_rng(0).normal(size=(50, columns))
    logged = log({"cloud": tracker.Object3D(points, caption="c"), "again": tracker.Object3D.from_numpy(points)})
    reference = logged.value("cloud")

    assert np.array_equal(np.frombuffer(logged.bytes_of(reference), "<f4").reshape(50, columns), points.astype("<f4"))
    assert without_digest(reference) == {
        "_type": "object3D-file", "format": "f32", "points": 50, "columns": columns, "caption": "c"
    }  # fmt: skip
    assert logged.value("again")["digest"] == reference["digest"]


def test_boxes_and_vectors_stand_among_points(log: Log) -> None:
    """As W&B's dict has them; many of them are a blob."""
    boxes = [{"corners": np.zeros((8, 3)), "label": "car", "color": [255, 0, 0]}]
    vectors = [{"start": [0, 0, 0], "end": [1, 1, number]} for number in range(500)]
    cloud = {"type": "lidar/beta", "points": np.zeros((3, 4)), "boxes": boxes, "vectors": np.array(vectors)}
    logged = log(
        {"cloud": tracker.Object3D(cloud), "same": tracker.Object3D.from_point_cloud(np.zeros((3, 4)), boxes, vectors)}
    )
    reference = logged.value("cloud")

    assert reference["boxes"] == [{"corners": [[0.0, 0.0, 0.0]] * 8, "label": "car", "color": [255, 0, 0]}]
    assert (reference["vectors"]["count"], reference["vectors"]["format"]) == (500, "json")
    assert json.loads(logged.bytes_of(reference["vectors"])) == vectors
    assert logged.value("same") == reference


@pytest.mark.parametrize("kind", ["glb", "gltf", "obj", "stl", "babylon", "pts.json"])
def test_models_are_kept_as_they_are(log: Log, tmp_path: Path, kind: str) -> None:
    """Known by their names, or by what is said of them."""
    path = tmp_path / f"thing.{kind}"
    path.write_bytes(b"glTF some bytes")
    logged = log(
        {
            "path": tracker.Object3D(path),
            "open": tracker.Object3D(io.BytesIO(b"glTF some bytes"), file_type=kind),
            "made": tracker.Object3D.from_file(str(path)),
        }
    )

    assert without_digest(logged.value("path")) == {"_type": "object3D-file", "format": kind}
    assert logged.bytes_of(logged.value("path")) == b"glTF some bytes"
    assert logged.value("open") == logged.value("made") == logged.value("path")


# --- molecules and texts ---------------------------------------------------------------------


def test_molecules_are_kept_as_they_are(log: Log, tmp_path: Path) -> None:
    """Files, and open files with a type."""
    path = tmp_path / "a.pdb"
    path.write_text("HETATM")
    logged = log(
        {"path": tracker.Molecule(path, caption="c"), "open": tracker.Molecule(io.StringIO("HETATM"), file_type="pdb")}
    )

    assert without_digest(logged.value("path")) == {"_type": "molecule-file", "format": "pdb", "caption": "c"}
    assert logged.bytes_of(logged.value("open")) == b"HETATM"


def test_molecules_of_rdkit(log: Log) -> None:
    """Ethanol has nine atoms, and every time the same places."""
    chem = pytest.importorskip("rdkit.Chem")
    mol = chem.MolFromSmiles("CCO")
    logged = log(
        {
            "smiles": tracker.Molecule.from_smiles("CCO"),
            "rdkit": tracker.Molecule.from_rdkit(mol),
            "raw": tracker.Molecule(mol),
            "bad": tracker.Molecule.from_smiles("not one"),
        }
    )

    read = chem.MolFromMolBlock(logged.bytes_of(logged.value("smiles")).decode(), removeHs=False)
    assert read.GetNumAtoms() == 9
    assert chem.MolToSmiles(chem.RemoveHs(read)) == "CCO"
    assert without_digest(logged.value("smiles")) == {"_type": "molecule-file", "format": "sdf", "caption": "CCO"}
    assert logged.value("rdkit")["digest"] == logged.value("smiles")["digest"]
    assert chem.MolFromMolBlock(logged.bytes_of(logged.value("raw")).decode()).GetNumAtoms() == 3


def test_texts_are_kept(log: Log, tmp_path: Path) -> None:
    """Short ones in the row, long ones as blobs."""
    path = tmp_path / "a.md"
    path.write_text("# é")
    long = "é" * 5000
    logged = log(
        {"short": tracker.Text("a\ud800b", caption="c"), "long": tracker.Text(long), "file": tracker.Markdown(path)}
    )

    assert logged.value("short") == {"_type": "text", "format": "text", "size": 8, "caption": "c", "text": "a\\ud800b"}
    assert logged.value("file") == {"_type": "text", "format": "markdown", "size": 4, "text": "# é"}
    assert logged.bytes_of(logged.value("long")).decode() == long
    assert "text" not in logged.value("long")


def test_histograms_are_kept(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    """As numpy counts them; what is no number is counted apart."""
    values = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float16)
    values[0, 0] = np.nan
    counts, edges = np.histogram(values[np.isfinite(values)].astype(np.float32), 20)
    logged = log(
        {
            "values": tracker.Histogram(values, num_bins=20),
            "pair": tracker.Histogram(np_histogram=(counts, edges)),
            "bools": tracker.Histogram(np.array([True, False, True]), num_bins=2),
        }
    )

    assert logged.value("values") == {
        "_type": "histogram", "values": counts.tolist(), "bins": edges.astype(float).tolist(), "nonfinite": 1
    }  # fmt: skip
    assert logged.value("pair") == {
        "_type": "histogram",
        "values": counts.tolist(),
        "bins": edges.astype(float).tolist(),
    }
    assert logged.value("bools")["values"] == [1, 2]
    assert tracker.Histogram([1, 2, 3], num_bins=2).histogram == [1, 2]
    assert tracker.Histogram([1, 2, 3], num_bins=2).bins == [1.0, 2.0, 3.0]
    assert not caplog.text


# --- what is broken --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tracker.Audio(TONE), "is an array of samples without a sample_rate"),
        (lambda: tracker.Audio(TONE, sample_rate=0), "has the sample_rate 0"),
        (lambda: tracker.Audio([], sample_rate=8), "is empty"),
        (lambda: tracker.Audio(np.zeros((3, 3, 3)), sample_rate=8), "has the shape (3, 3, 3)"),
        (lambda: tracker.Audio(np.zeros((100, 100)), sample_rate=8), "at most 32 channels"),
        (lambda: tracker.Audio(np.array([True]), sample_rate=8), "samples that are bools"),
        (lambda: tracker.Audio(np.array([np.nan]), sample_rate=8), "has no sample that is a finite number"),
        (lambda: tracker.Audio(np.array([10**9]), sample_rate=8), "samples of 64 bits"),
        (lambda: tracker.Audio(b"no sound"), "is no sound that browsers play"),
        (lambda: tracker.Audio("nowhere.wav"), "'nowhere.wav', which is not there"),
        (lambda: tracker.Audio(object(), sample_rate=8), "elements of type object"),
        (lambda: tracker.Video(np.zeros((2, 2))), "has the shape (2, 2)"),
        (lambda: tracker.Video(np.zeros((1, 1, 1, 1, 1, 1))), "has the shape (1, 1, 1, 1, 1, 1)"),
        (lambda: tracker.Video(np.zeros((0, 3, 4, 4))), "is empty"),
        (lambda: tracker.Video(np.zeros((2, 5, 4, 5))), "1, 3 or 4 channels are possible"),
        (lambda: tracker.Video(np.full((2, 3, 4, 4), np.nan)), "has no pixel that is a finite number"),
        (lambda: tracker.Video(FRAMES, fps=-1), "has fps=-1"),
        (lambda: tracker.Video(FRAMES, format="avi"), "has the format 'avi'"),  # type: ignore[arg-type] # on purpose
        (lambda: tracker.Video(b"no video at all"), "is no video that browsers play"),
        (lambda: tracker.Video("nowhere.mp4"), "'nowhere.mp4', which is not there"),
        (lambda: tracker.Video(5), "is a Video of a int"),
        (lambda: tracker.Html(5), "is Html of a int"),
        (lambda: tracker.Html(""), "is empty"),
        (lambda: tracker.Html("nowhere.html"), "'nowhere.html', which is not there"),
        (lambda: tracker.Html("x" * (33 << 20)), "at most 33,554,432 are kept"),
        (lambda: tracker.Object3D(np.zeros((5, 5))), "has points of the shape (5, 5)"),
        (lambda: tracker.Object3D(np.full((5, 3), np.nan)), "has no point whose numbers are finite"),
        (lambda: tracker.Object3D({"points": np.zeros((5, 3)), "boxes": [{"corners": [1]}]}), "a box has eight"),
        (lambda: tracker.Object3D({"points": np.zeros((5, 3)), "boxes": [3]}), "item 0 is without corners"),
        (lambda: tracker.Object3D({"boxes": []}), "is a dict without 'points'"),
        (lambda: tracker.Object3D("thing.exe"), "has the name 'thing.exe', which is none of glb"),
        (lambda: tracker.Object3D(io.BytesIO(b"x"), file_type="glb"), "is no glb file"),
        (lambda: tracker.Object3D(5), "is an Object3D of a int"),
        (lambda: tracker.Molecule("CCO"), "For SMILES, use Molecule.from_smiles"),
        (lambda: tracker.Molecule("nowhere.pdb"), "'nowhere.pdb', which is not there"),
        (lambda: tracker.Molecule(5), "is a Molecule of a int"),
        (lambda: tracker.Text("x" * (33 << 20)), "at most 33,554,432 are kept"),
        (lambda: tracker.Text("x", format="html"), "has the format 'html'"),  # type: ignore[arg-type] # on purpose
        (lambda: tracker.Histogram(), "has neither a sequence nor an np_histogram"),
        (lambda: tracker.Histogram([1], num_bins=0), "has num_bins=0"),
        (lambda: tracker.Histogram([1], num_bins=1000), "has num_bins=1000"),
        (lambda: tracker.Histogram(np_histogram=([1], [1])), "there is one edge more"),
        (lambda: tracker.Histogram(np_histogram=5), "no pair of counts and edges"),  # type: ignore[arg-type] # on purpose
        (lambda: tracker.Histogram(np_histogram=([1], [0, float("nan")])), "edges that are no finite numbers"),
        (lambda: tracker.Histogram([np.nan]), "holds no finite number"),
        (lambda: tracker.Histogram([-1.7e308, 1.7e308]), "beyond what floats can divide"),
        (lambda: tracker.Histogram("abc"), "elements of type"),
        (lambda: tracker.Histogram([[1], [2, 3]]), "is a list that is no array of numbers"),
    ],
)  # fmt: skip
def test_what_is_broken_is_named_with_its_reason(
    log: Log, caplog: pytest.LogCaptureFixture, make: Callable[[], Any], said: str
) -> None:
    """Nothing is raised, neither where it is made nor where it is logged, and the rest of the row is kept."""
    logged = log({"loss": 1.0, "broken": make(), "gallery": [make(), tracker.Text("fine")]})

    assert "'broken'" in caplog.text
    assert caplog.text.count(said) == 2
    assert "Traceback" not in caplog.text
    (row,) = logged.rows
    assert (row["loss"], len(row["gallery"]), "broken" in row) == (1.0, 1, False)


def test_a_value_whose_methods_raise_is_told(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever they raise."""

    class Hostile:
        shape = (4, 4)

        def __array__(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("no array today")

    logged = log({"loss": 1.0, "image": tracker.Image(Hostile())})

    assert "'image' could not be read (RuntimeError: no array today)." in caplog.text
    assert logged.rows == [{"_step": 0, "loss": 1.0}]
    with pytest.raises(Unstorable, match="no array today"):
        tracker.Image(Hostile()).snapshot()


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=200),
    st.lists(st.floats(), max_size=5), st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=4)),
)  # fmt: skip


@given(st.lists(ANYTHING, min_size=1, max_size=3), ANYTHING)
def test_nothing_that_is_given_to_them_raises(several: list[Any], other: Any) -> None:
    """Neither when they are made, nor when their snapshots are encoded: there is a reference, or a reason."""
    value = several[0]
    made = [
        *(kind(value) for kind in (tracker.Image, tracker.Audio, tracker.Video, tracker.Html, tracker.Histogram)),
        *(kind(value) for kind in (tracker.Plotly, tracker.Object3D, tracker.Molecule, tracker.Text, tracker.Classes)),
        tracker.Image(value, mode=other, caption=other, grouping=other, classes=several, boxes=other, masks=other),
        tracker.Image(np.zeros((4, 4)), mode=other, classes=other, boxes={"a": other}, masks={"a": other}),
        tracker.Image(np.zeros((4, 4)), boxes={"a": {"box_data": several}}, masks={"a": {"mask_data": value}}),
        tracker.Image(np.zeros((4, 4)), file_type=other, normalize=other),
        tracker.Audio(value, sample_rate=other, caption=other),
        tracker.Video(value, fps=other, format=other, caption=other),
        tracker.Histogram(value, num_bins=other),
        tracker.Histogram(np_histogram=(value, other)),
        tracker.Object3D({"points": value, "boxes": several, "vectors": other}),
        tracker.Object3D(value, file_type=other),
        tracker.Text(value, format=other),
    ]
    with tempfile.TemporaryDirectory() as folder:
        blobs = FolderBlobs(Path(folder))
        for medium in made:
            try:
                taken = medium.snapshot()
                reference = taken if isinstance(taken, Reference) else taken.encode(blobs)
            except Unstorable as reason:
                assert str(reason)
            else:
                assert reference["_type"] == medium._type
                assert not blobs.missing(digests_in(reference))
