"""Artifacts over HTTP: a version is there when it is whole, and says what it holds, who made and who read it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tracker.core.artifacts.catalogue import FolderCatalogue
from tracker.core.artifacts.manifest import Entry, Manifest, Part, RemoteObject
from tracker.core.artifacts.version import Draft
from tracker.core.blobs import FolderBlobs, digest_of
from tracker.core.paths import artifacts_folder, blobs_folder
from tracker.server.run import key_file

from .helpers import Server, write_run

BYTES = {"content-type": "application/octet-stream"}


def entry(path: str, data: bytes) -> Entry:
    """Answer the entry of a file that is one blob."""
    return Entry(path, len(data), digest_of(data), (Part(digest_of(data), 0, len(data)),) if data else ())


def send(server: Server, data: bytes) -> None:
    """Send a blob."""
    url = f"/api/v1/blobs/{digest_of(data)}"
    assert server.client.put(url, params={"size": len(data)}, content=data, headers=BYTES).status_code == 200


def body_of(manifest: Manifest, token: str, **more: Any) -> dict[str, Any]:
    """Answer what claims a version with this manifest."""
    return {
        "token": token,
        "type": "dataset",
        "digest": manifest.digest,
        "manifest": digest_of(manifest.dump()),
        "size": manifest.size,
        "files": manifest.files,
        **more,
    }


def claim(server: Server, name: str, files: Mapping[str, bytes], token: str, **more: Any) -> dict[str, Any]:
    """Send files and claim a version of them; answer it."""
    manifest = Manifest(entry(path, data) for path, data in files.items())
    for data in (*files.values(), manifest.dump()):
        send(server, data)
    answer = server.client.post(f"/api/v1/artifacts/local/demo/{name}/versions", json=body_of(manifest, token, **more))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_version_is_there_when_all_its_bytes_are(team: Server) -> None:
    """What is missing is told, first the manifest, then the blobs; nothing half is visible meanwhile."""
    one, two = b"first bytes", b"second bytes"
    manifest = Manifest([entry("a/one", one), entry("two", two)])
    url = "/api/v1/artifacts/local/demo/whole"
    body = body_of(manifest, "token-whole-1", aliases=["best"], metadata={"rows": 3, "loss": {"$float": "nan"}})
    seen = []
    for data in (manifest.dump(), one, two):
        answer = team.client.post(f"{url}/versions", json=body)
        seen.append((answer.status_code, answer.json()["missing"], answer.json()["count"]))
        assert team.client.get(url).status_code == team.client.get(f"{url}/v0").status_code == 404
        send(team, data)
    made = team.client.post(f"{url}/versions", json=body)

    assert seen == [
        (409, [digest_of(manifest.dump())], 1),
        (409, sorted([digest_of(one), digest_of(two)]), 2),
        (409, [digest_of(two)], 1),
    ]
    assert made.status_code == 200
    version = made.json()
    assert (version["path"], version["aliases"]) == ("local/demo/whole:v0", ["best", "latest"])
    assert version["metadata"] == {"rows": 3, "loss": {"$float": "nan"}}
    for which in ("v0", "best", "latest", manifest.digest[:12]):
        assert team.get(f"/artifacts/local/demo/whole/{which}") == version


def test_the_same_claim_again_changes_nothing(team: Server) -> None:
    """A token stands for one version; so do the same bytes under another token."""
    first = claim(team, "again", {"x": b"1"}, "token-again-1")
    other = claim(team, "again", {"x": b"2"}, "token-again-2")
    repeated = claim(team, "again", {"x": b"1"}, "token-again-1")
    same_bytes = claim(team, "again", {"x": b"2"}, "token-again-3", aliases=["best"])
    found = team.get("/artifacts/local/demo/again")

    assert (first["version"], other["version"], repeated["version"], same_bytes["version"]) == (0, 1, 0, 1)
    assert found["total"] == len(found["items"]) == 2
    assert found["aliases"] == {"best": 1, "latest": 1}


def test_writers_at_once_get_a_version_each(team: Server) -> None:
    """Eight at the same time, each its own number, none skipped."""
    made: list[int] = []
    threads = []
    for number in range(8):
        files = {"x": b"of writer %d" % number}
        manifest = Manifest(entry(path, data) for path, data in files.items())
        for data in (*files.values(), manifest.dump()):
            send(team, data)
        body = body_of(manifest, f"token-many-{number}")

        def write(body: dict[str, Any] = body) -> None:
            with httpx.Client(base_url=team.url, timeout=30) as client:
                made.append(client.post("/api/v1/artifacts/local/demo/many/versions", json=body).json()["version"])

        threads.append(threading.Thread(target=write))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(made) == list(range(8))


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"digest": "0" * 64}, 422),
        ({"size": 4}, 422),
        ({"files": 7}, 422),
        ({"digest": "x"}, 422),
        ({"token": "a"}, 422),
        ({"aliases": ["v7"]}, 422),
        ({"aliases": ["a/b"]}, 422),
        ({"tags": ["\ud800"]}, 422),
        ({"type": ""}, 422),
        ({"metadata": {"a": {"b": "\ud800"}}}, 422),
        ({"source": "local/demo/x:v0"}, 422),
        ({"run": "no run"}, 422),
        ({"unknown": 1}, 422),
        ({"manifest": digest_of(b"no manifest")}, 422),
    ],
)
def test_a_claim_that_makes_no_sense_makes_no_version(team: Server, change: dict[str, Any], status: int) -> None:
    manifest = Manifest([entry("x", b"odd")])
    for data in (b"odd", manifest.dump(), b"no manifest"):
        send(team, data)
    body = json.dumps({**body_of(manifest, "token-odd-1"), **change}).encode()
    answer = team.client.post(
        "/api/v1/artifacts/local/demo/odd/versions", content=body, headers={"content-type": "application/json"}
    )

    assert answer.status_code == status, answer.text
    assert isinstance(answer.json()["detail"], str)
    assert team.client.get("/api/v1/artifacts/local/demo/odd").status_code == 404


def test_a_damaged_blob_counts_as_missing(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start("server", folder=tmp_path / "store")
    manifest = Manifest([entry("x", b"data")])
    for data in (b"data", manifest.dump()):
        send(server, data)
    (file,) = (tmp_path / "store" / "blobs").rglob(digest_of(manifest.dump()))
    file.write_bytes(b"\0" * file.stat().st_size)
    url = "/api/v1/artifacts/local/demo/damaged/versions"
    first = server.client.post(url, json=body_of(manifest, "token-damaged"))
    send(server, manifest.dump())
    second = server.client.post(url, json=body_of(manifest, "token-damaged"))

    assert (first.status_code, first.json()["missing"]) == (409, [digest_of(manifest.dump())])
    assert second.json()["version"] == 0


def test_what_a_version_holds_is_listed_level_by_level(team: Server) -> None:
    files = {"readme.md": b"# hi", "train/a.bin": b"a" * 10, "train/b.bin": b"b" * 20, "train/deep/c": b"c", "z": b""}
    claim(team, "listed", files, "token-listed")
    url = "/artifacts/local/demo/listed/latest/manifest"
    top, train = team.get(url), team.get(url, params={"prefix": "train"})
    flat = team.get(url, params={"flat": True, "limit": 2, "offset": 1})

    assert top["folders"] == [{"path": "train", "files": 3, "size": 31}]
    assert [(file["path"], file["size"]) for file in top["files"]] == [("readme.md", 4), ("z", 0)]
    assert (top["total"], train["total"], flat["total"]) == (3, 3, 5)
    assert [folder["path"] for folder in train["folders"]] == ["train/deep"]
    assert [file["path"] for file in train["files"]] == ["train/a.bin", "train/b.bin"]
    assert [file["path"] for file in flat["files"]] == ["train/a.bin", "train/b.bin"]
    assert team.get(url, params={"limit": 2})["files"][0]["path"] == "readme.md"
    assert team.get(url, params={"prefix": "tra"})["total"] == 0


def test_versions_are_compared_by_what_they_hold(team: Server) -> None:
    claim(team, "compared", {"same": b"1", "other": b"2", "gone": b"3"}, "token-compared-1")
    claim(team, "compared", {"same": b"1", "other": b"22", "new": b"4"}, "token-compared-2")
    found = team.get("/artifacts/local/demo/compared/v0/diff/latest")

    assert [file["path"] for file in found["added"]] == ["new"]
    assert [file["path"] for file in found["removed"]] == ["gone"]
    assert [(file["path"], file["size"], file["other_size"]) for file in found["changed"]] == [("other", 1, 2)]
    assert found["counts"] == {"added": 1, "changed": 1, "removed": 1}
    assert team.client.get("/api/v1/artifacts/local/demo/compared/v0/diff/v9").status_code == 404


def test_a_file_is_read_out_of_its_parts(team: Server) -> None:
    """From the middle of bundles, over the ends of chunks, whole and in ranges."""
    bundle, chunk = b"xxHELLOyy", b" WORLD, and more"
    data = b"HELLO WORLD"
    parts = (Part(digest_of(bundle), 2, 5), Part(digest_of(chunk), 0, 6))
    page = b"<script>alert(1)</script>"
    manifest = Manifest(
        [
            Entry("a b/ü.txt", len(data), digest_of(data), parts),
            entry("page.html", page),
            entry("empty", b""),
            Entry("link", link="empty"),
            Entry("far", 5, "", reference=RemoteObject("http://127.0.0.1:1/secret")),
        ]
    )
    for blob in (bundle, chunk, page, manifest.dump()):
        send(team, blob)
    url = "/api/v1/artifacts/local/demo/parts"
    made = team.client.post(f"{url}/versions", json=body_of(manifest, "token-parts"))
    whole = team.client.get(f"{url}/v0/file/a b/ü.txt", params={"format": "txt"})
    piece = team.client.get(f"{url}/v0/file/a%20b/%C3%BC.txt", headers={"range": "bytes=3-7"})
    html = team.client.get(f"{url}/latest/file/page.html")

    assert made.status_code == 200
    assert (whole.content, whole.headers["content-type"]) == (data, "text/plain; charset=utf-8")
    assert (piece.status_code, piece.content) == (206, data[3:8])
    assert "%C3%BC.txt" in piece.headers["content-disposition"]
    assert html.content == page
    assert html.headers["content-disposition"].startswith("attachment")
    assert "immutable" not in html.headers["cache-control"]
    assert team.client.get(f"{url}/v0/file/empty").content == b""
    for path in ("link", "far", "nothing", "a b", "../x", "..%2f..%2fetc%2fpasswd", "/etc/passwd"):
        assert team.client.get(f"{url}/v0/file/{path}").status_code == 404


def test_a_damaged_file_ends_and_is_never_wrong(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start("server", folder=tmp_path / "store")
    claim(server, "hurt", {"x": b"0123456789" * 10}, "token-hurt")
    (file,) = (tmp_path / "store" / "blobs").rglob(f"{digest_of(b'0123456789' * 10)}*")
    file.write_bytes(b"\0" * 100)
    url = "/api/v1/artifacts/local/demo/hurt/v0/file/x"

    with pytest.raises(httpx.RemoteProtocolError):
        server.client.get(url)
    assert server.client.get(url).status_code == 404


def test_aliases_tags_and_texts_are_changed(team: Server) -> None:
    """An alias moves from its old holder, and the history says who moved it."""
    claim(team, "edited", {"x": b"1"}, "token-edited-1", aliases=["prod"], description="first")
    claim(team, "edited", {"x": b"2"}, "token-edited-2")
    url = "/api/v1/artifacts/local/demo/edited"
    patch = {
        "add_aliases": ["prod", "stable"],
        "add_tags": ["good"],
        "description": None,
        "metadata": {"a": {"$int": "99999999999999999999"}},
        "ttl_days": 7,
        "by": {"user": "ann", "host": "here"},
    }
    new = team.client.patch(f"{url}/v1", json=patch).json()
    old = team.client.patch(f"{url}/v0", json={"add_tags": ["old"]}).json()
    team.client.patch(f"{url}/stable", json={"remove_aliases": ["stable"], "remove_tags": ["good"]})
    team.client.patch(url, json={"description": "all of it", "tags": ["t"]})
    found = team.get("/artifacts/local/demo/edited", params={"history": True})

    assert (new["aliases"], new["tags"], new["ttl_days"]) == (["prod", "stable", "latest"], ["good"], 7)
    assert new["metadata"] == {"a": {"$int": "99999999999999999999"}}
    assert (old["aliases"], old["tags"], old["description"]) == ([], ["old"], "first")
    assert (found["description"], found["tags"], found["aliases"]) == ("all of it", ["t"], {"latest": 1, "prod": 1})
    moves = [
        (e["version"], e["previous"], e["user"])
        for e in found["events"]
        if e["action"] == "alias" and e["name"] == "prod"
    ]
    assert moves[-1] == (1, 0, "ann")


@pytest.mark.parametrize(
    "patch",
    [
        {"add_aliases": ["v3"]},
        {"remove_aliases": ["latest"]},
        {"remove_aliases": ["nothing"]},
        {"ttl_days": -1},
        {"digest": "0" * 64},
        {"metadata": [1]},
        {"add_tags": ["\u0000"]},
    ],
)
def test_an_edit_that_makes_no_sense_is_refused(team: Server, patch: dict[str, Any]) -> None:
    made = claim(team, "firm", {"x": b"1"}, "token-firm")

    assert team.client.patch("/api/v1/artifacts/local/demo/firm/v0", json=patch).status_code == 422
    assert team.get("/artifacts/local/demo/firm/v0") == made


def test_a_deleted_version_keeps_its_number(team: Server) -> None:
    claim(team, "thinned", {"x": b"1"}, "token-thinned-1", aliases=["keep"])
    url = "/api/v1/artifacts/local/demo/thinned"
    held = team.client.delete(f"{url}/v0")
    gone = team.client.delete(f"{url}/v0", params={"delete_aliases": True})
    after = team.client.get(f"{url}/v0").status_code
    again = claim(team, "thinned", {"x": b"2"}, "token-thinned-2")

    assert (held.status_code, gone.status_code, after) == (422, 200, 404)
    assert gone.json()["deleted"] is True
    assert again["version"] == 1


def test_lineage_is_walked_both_ways(team: Server) -> None:
    """Dataset, training, model, evaluation: from the middle up to the data and down to the report."""
    claim(team, "data", {"x": b"data"}, "token-line-1", run="local/demo/prepare")
    claim(team, "model", {"x": b"model"}, "token-line-2", run="local/demo/train", type="model")
    for name, run in (("data", "local/demo/train"), ("model", "local/demo/eval"), ("data", "local/demo/eval")):
        url = f"/api/v1/artifacts/local/demo/{name}/latest/uses"
        told = team.client.post(url, json={"run": run, "by": {"user": "bob"}}).json()
        assert [use["run"] for use in told["uses"]][-1] == run
        assert team.client.post(url, json={"run": run}).json() == told
    both = team.get("/lineage", params={"artifact": "local/demo/model:v0"})
    down = team.get("/lineage", params={"run": "local/demo/train", "direction": "down", "depth": 1})
    uses = team.get("/artifacts/local/demo/data/v0/uses")

    assert {node["path"] for node in both["nodes"]} == {
        "local/demo/model:v0", "local/demo/train", "local/demo/data:v0", "local/demo/prepare", "local/demo/eval",
    }  # fmt: skip
    assert {(edge["source"], edge["target"], edge["use"]) for edge in both["edges"]} == {
        ("local/demo/prepare", "local/demo/data:v0", "output"),
        ("local/demo/data:v0", "local/demo/train", "input"),
        ("local/demo/train", "local/demo/model:v0", "output"),
        ("local/demo/model:v0", "local/demo/eval", "input"),
    }
    assert [node["path"] for node in down["nodes"]] == ["local/demo/train", "local/demo/model:v0"]
    assert uses["made_by"] == ["local/demo/prepare"]
    assert [use["run"] for use in uses["uses"]] == ["local/demo/train", "local/demo/eval"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 422),
        ({"run": "local/demo/x", "artifact": "local/demo/model:v0"}, 422),
        ({"run": "x"}, 422),
        ({"run": "local/%2e%2e%2fx/y"}, 422),
        ({"artifact": "model"}, 422),
        ({"artifact": "local/demo/nothing:v0"}, 404),
        ({"run": "local/demo/train", "direction": "sideways"}, 422),
        ({"run": "local/demo/train", "depth": -1}, 422),
        ({"run": "local/demo/unknown"}, 200),
    ],
)
def test_lineage_of_nothing(team: Server, query: dict[str, Any], status: int) -> None:
    assert team.client.get("/api/v1/lineage", params=query).status_code == status


def test_runs_in_a_lineage_have_a_name_and_a_state(start: Callable[..., Server], tmp_path: Path) -> None:
    """Over a folder: what lies there is shown, and can be edited, but nothing is taken in."""
    from .helpers import until

    root = tmp_path / "runs"
    path = write_run(root)
    blobs = FolderBlobs(blobs_folder(root))
    manifest = Manifest([entry("x", b"local")])
    blobs.put(b"local")
    draft = Draft(
        entity="local", project="demo", name="local", type="t", digest=manifest.digest,
        manifest=blobs.put(manifest.dump()), size=5, files=1, run=str(path),
    )  # fmt: skip
    FolderCatalogue(artifacts_folder(root)).claim(draft, "token-local")
    server = start("ui", root=root)
    until(lambda: server.get("/runs")["total"])
    nodes = server.get("/lineage", params={"artifact": "local/demo/local:latest"})["nodes"]
    edited = server.client.patch("/api/v1/artifacts/local/demo/local/v0", json={"add_aliases": ["here"]})
    refused = server.client.post("/api/v1/artifacts/local/demo/local/versions", json=body_of(manifest, "token-refused"))

    assert [(node["kind"], node["name"], node["state"]) for node in nodes] == [
        ("artifact", None, None),
        ("run", "name of one", "finished"),
    ]
    assert server.client.get("/api/v1/artifacts/local/demo/local/v0/file/x").content == b"local"
    assert edited.json()["aliases"] == ["here", "latest"]
    assert FolderCatalogue(artifacts_folder(root)).version("local", "demo", "local", "here") is not None
    assert refused.status_code == 403


def test_a_registry_links_versions_and_stages_move(team: Server) -> None:
    claim(team, "net", {"x": b"net 1"}, "token-net-1", type="model")
    claim(team, "net", {"x": b"net 2"}, "token-net-2", type="model")
    url = "/api/v1/artifacts/.registry/models/nets"
    manifest = Manifest([entry("x", b"net 1")])

    def link(number: int, *aliases: str) -> dict[str, Any]:
        body = body_of(manifest, f"token-link-{number}", type="model", source=f"local/demo/net:v{number}")
        answer = team.client.post(f"{url}/versions", json={**body, "aliases": list(aliases)})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    first, second = link(0, "staging", "production"), link(1, "staging")
    again = link(0)
    team.client.patch(f"{url}/staging", json={"add_aliases": ["production"], "by": {"user": "ann"}})
    found = team.get("/artifacts/.registry/models/nets", params={"history": True})
    unknown = team.client.post(
        f"{url}/versions", json=body_of(manifest, "token-link-9", type="model", source="local/demo/net:v9")
    )

    assert (first["version"], second["version"], again["version"]) == (0, 1, 0)
    assert (first["source"], second["source"]) == ("local/demo/net:v0", "local/demo/net:v1")
    assert found["aliases"]["production"] == found["aliases"]["staging"] == 1
    assert unknown.status_code == 422
    assert {"name": "models", "collections": 1} in team.get("/registries")["registries"]
    assert [each["name"] for each in team.get("/registries/models")["collections"]] == ["nets"]
    assert "nets" not in [each["name"] for each in team.get("/artifacts")["collections"]]
    assert (
        team.client.post(
            "/api/v1/artifacts/local/demo/nets/versions",
            json=body_of(manifest, "token-no-link", source="local/demo/net:v0"),
        ).status_code
        == 422
    )


def test_collections_are_listed(team: Server) -> None:
    claim(team, "listed-1", {"x": b"l1"}, "token-list-1", type="report")
    claim(team, "listed-2", {"x": b"l2"}, "token-list-2", type="report")
    found = team.get("/artifacts", params={"entity": "local", "project": "demo", "type": "report"})["collections"]

    assert [(each["path"], each["versions"], each["size"]) for each in found] == [
        ("local/demo/listed-1", 1, 2),
        ("local/demo/listed-2", 1, 2),
    ]
    assert team.get("/artifacts", params={"project": "none"})["collections"] == []


def test_who_moved_it_is_the_keys_name(start: Callable[..., Server], tmp_path: Path) -> None:
    """Whatever the request says."""
    _, key = key_file(tmp_path / "store").add("ann's laptop")
    server = start("server", folder=tmp_path / "store")
    server.client.headers["authorization"] = f"Bearer {key}"
    claim(server, "owned", {"x": b"1"}, "token-owned", by={"user": "root", "host": "there"})
    server.client.patch("/api/v1/artifacts/local/demo/owned/v0", json={"add_aliases": ["prod"], "by": {"user": "root"}})
    found = server.get("/artifacts/local/demo/owned", params={"history": True})

    assert {event["user"] for event in found["events"]} == {"ann's laptop"}
    assert found["items"][0]["host"] == "there"


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "%2e%2e%2f%2e%2e",
        "..%5c..",
        ".runs",
        ".registry",
        "a%00b",
        "%ff",
        "con",
        "x" * 300,
        "C:",
        "a%2Fb",
        "%2Fetc",
    ],
)
def test_no_name_is_a_path(team: Server, name: str) -> None:
    for route in (
        f"/artifacts/{name}/demo/x",
        f"/artifacts/local/{name}/x",
        f"/artifacts/local/demo/{name}",
        f"/artifacts/local/demo/whole/{name}",
        f"/artifacts/local/demo/whole/v0/diff/{name}",
        f"/artifacts/local/demo/whole/v0/file/{name}",
        f"/artifacts/.registry/{name}/x",
        f"/registries/{name}",
    ):
        raw = f"GET /api/v1{route} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = team.raw(raw.encode())
        assert int(answer.split()[1]) in (200, 404, 422)
        assert b"root:" not in answer
        if b" 200 " in answer.split(b"\r\n")[0]:
            assert b'"collections":[]' in answer
