"""Named files and facts of a run: kept while it goes on, read back from the folder and from a server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tracker
from tracker import Api
from tracker.core.errors import StorageError, UsageError
from tracker.core.files import check_file_name, keep, place_of
from tracker.core.paths import RunPath, run_blobs
from tracker.core.record import Kind

from .conftest import QUIET, serving, wait_for

BINARY = bytes(range(256)) * 5000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one run that keeps files."""
    settings = {**QUIET, "disable_git": True, "disable_code": True}
    with tracker.init(project="p", id="a", dir=tmp_path, settings=settings) as run:
        keep(run, "code/train.py", b"print(1)\n", "code", mode="100755", redacted=2)
        keep(run, "weights.bin", BINARY, "other")
        keep(run, "code/t\u00e4st #1?.txt", b"old", "code")
        keep(run, "code/t\u00e4st #1?.txt", b"", "code")
        keep(run, "gone", b"x", "other")
        run._record(Kind.FILE, {"name": "gone", "digest": None})
        run._record(Kind.ENVIRONMENT, {"my_fact": {"nested": [1, None]}, "again": 1})
        run._record(Kind.ENVIRONMENT, {"again": 2, "big": 2**60})
    return tmp_path


@pytest.fixture(params=["folder", "server"])
def api(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> object:
    """An `Api` of the folder, and one of a server that shows it."""
    if request.param == "folder":
        with Api(dir=folder) as api:
            yield api
        return
    with serving(folder, tmp_path_factory.mktemp("cache")) as url, Api(base_url=url) as api:
        wait_for(lambda: [run.state for run in api.runs()] == ["finished"])
        yield api


def test_files_are_listed_and_read(api: Api, tmp_path: Path) -> None:
    run = api.run("local/p/a")
    names = ["code/train.py", "code/t\u00e4st #1?.txt", "weights.bin"]
    found = run.file("code/train.py")

    assert [file.name for file in run.files(names)] == names
    assert "gone" not in [file.name for file in run.files()]
    assert (found.size, found.kind, found.details) == (9, "code", {"mode": "100755", "redacted": 2})
    assert found.read() == b"print(1)\n"
    assert run.file("weights.bin").read() == BINARY
    assert run.file("code/t\u00e4st #1?.txt").read() == b""
    with pytest.raises(UsageError, match=r"no file 'code/trian.py'. Did you mean code/train.py"):
        run.file("code/trian.py")


def test_a_file_is_downloaded_whole_and_nothing_is_overwritten(api: Api, tmp_path: Path) -> None:
    target = tmp_path / "there"
    file = api.run("local/p/a").file("code/train.py")
    with file.download(target) as opened:
        assert opened.read() == b"print(1)\n"
    (target / "code" / "train.py").write_bytes(b"mine")

    with pytest.raises(UsageError, match="is there already"):
        file.download(target)
    with file.download(target, exist_ok=True) as opened:
        assert opened.read() == b"mine"
    with file.download(target, replace=True) as opened:
        assert opened.read() == b"print(1)\n"
    assert sorted(path.name for path in target.rglob("*")) == ["code", "train.py"]


def test_facts_are_merged_and_the_last_one_rules(api: Api) -> None:
    metadata = api.run("local/p/a").metadata

    assert metadata["my_fact"] == {"nested": [1, None]}
    assert (metadata["again"], metadata["big"]) == (2, 2**60)
    assert metadata["host"]


def test_damage_is_not_handed_out(folder: Path) -> None:
    path = RunPath("local", "p", "a")
    with Api(dir=folder) as api:
        files = {file.name: file for file in api.run(str(path)).files()}
        blobs = run_blobs(path.folder(folder))
        (stored,) = blobs.rglob(files["code/train.py"].digest)
        stored.write_bytes(b"print(2)\n")
        with pytest.raises(StorageError, match="are others than were kept"):
            files["code/train.py"].download(folder / "x")
        stored.unlink()
        with pytest.raises(StorageError, match="are not in"):
            files["code/train.py"].read()

    assert list((folder / "x").rglob("*.py")) == []


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "..", "C:/x", "C:x", "\\\\host\\x", "a\\..\\..\\x", "a\0b",
     "x" * 2000],
)  # fmt: skip
def test_a_name_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no name of a file"):
        check_file_name(name)


def test_a_link_on_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UsageError, match="is a link"):
        place_of(tmp_path / "root", "link/x")


def test_a_server_hands_files_out_as_bytes_only(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No browser shows them, whatever they are called; what is known is not sent again."""
    import httpx

    with serving(folder, tmp_path_factory.mktemp("cache")) as url, Api(base_url=url) as api:
        wait_for(lambda: [run.state for run in api.runs()] == ["finished"])
        address = api.run("local/p/a").file("code/train.py").url
        assert address is not None
        answer = httpx.get(address)
        again = httpx.get(address, headers={"if-none-match": answer.headers["etag"]})
        missing = [
            httpx.get(f"{url}/api/v1/runs/local/p/a/files/{name}").status_code for name in ("x", "..%2fx", "%00")
        ]

    assert answer.content == b"print(1)\n"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''train.py"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert again.status_code == 304
    assert missing == [404, 404, 404]


def test_the_bytes_follow_a_run_to_its_server(tmp_path: Path) -> None:
    """Once the run has finished they are there, and can be restored from."""
    arguments = ["--mode", "server", "--folder", str(tmp_path / "team"), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker.server.run", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        with tracker.init(project="p", id="sent", dir=tmp_path / "runs", settings={**QUIET, "base_url": url}) as run:
            keep(run, "code/a.py", b"a = 1\n", "code")
            keep(run, "large.bin", BINARY, "other")
        with Api(base_url=url) as api:
            found = api.run("p/sent")

            assert found.file("code/a.py").read() == b"a = 1\n"
            assert found.file("large.bin").read() == BINARY
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
