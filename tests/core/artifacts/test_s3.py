"""References to S3, by its own protocol: the real s3fs, and a server that speaks it (moto). Skipped without the two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.core.artifacts.references import ChangedReference

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("s3fs")
boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto.server")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A store with two buckets, the one of which keeps old versions of its objects."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": url})
    client = boto3.client("s3", endpoint_url=url)
    for bucket in ("plain", "versioned"):
        client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    for bucket in ("plain", "versioned"):
        client.put_object(Bucket=bucket, Key="set/a.bin", Body=b"one")
        client.put_object(Bucket=bucket, Key="set/deep/b.bin", Body=b"two")
    yield client
    server.stop()


@pytest.fixture
def run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tracker.Run]:
    monkeypatch.chdir(tmp_path)
    with tracker.init(project="digits", settings={"silent": True}) as run:
        yield run


def logged(run: tracker.Run, uri: str) -> tracker.Artifact:
    artifact = tracker.Artifact("refs", type="dataset")
    artifact.add_reference(uri)
    return run.log_artifact(artifact).wait(60)


@pytest.mark.parametrize("bucket", ["plain", "versioned"])
def test_a_folder_is_downloaded_and_a_change_of_it_is_noticed(s3: Any, run: tracker.Run, bucket: str) -> None:
    artifact = logged(run, f"s3://{bucket}/set")
    folder = Path(artifact.download())
    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.bin")} == {
        "a.bin": b"one",
        "deep/b.bin": b"two",
    }
    assert logged(run, f"s3://{bucket}/set").version == "v0"
    s3.put_object(Bucket=bucket, Key="set/a.bin", Body=b"ONE")  # of the same length

    with pytest.raises(ChangedReference, match="the ETag was"):
        artifact.download("again")
    assert logged(run, f"s3://{bucket}/set").version == "v1"
    s3.delete_object(Bucket=bucket, Key="set/deep/b.bin")
    with pytest.raises(ChangedReference, match="is not there"):
        artifact.download("gone", path_prefix="deep")


def test_an_object_whose_old_versions_are_kept_is_downloaded_as_it_was(s3: Any, run: tracker.Run) -> None:
    artifact = logged(run, "s3://versioned/set/a.bin")
    s3.put_object(Bucket="versioned", Key="set/a.bin", Body=b"ONE")

    assert (Path(artifact.download()) / "a.bin").read_bytes() == b"one"
    assert (Path(logged(run, "s3://versioned/set/a.bin").download()) / "a.bin").read_bytes() == b"ONE"
