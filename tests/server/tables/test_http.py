"""`POST /tables/query` over HTTP, asked by people who mean no good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..http.helpers import Server, start_server, until


@pytest.fixture(scope="module")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the folder."""
    folder = tmp_path_factory.mktemp("server")
    server = start_server(folder / "log", "ui", root=root, cache=folder / "cache")
    until(lambda: len(server.get("/runs", params={"filter": FINISHED})["runs"]) == 2)
    yield server
    server.stop()


FINISHED = '{"state": "finished"}'
SOURCE = {"run": "local/p/one", "key": "pred"}


def ask(server: Server, body: Any = None, **query: Any) -> httpx.Response:
    """Ask; `body` as it is, or a query."""
    content = json.dumps({"source": SOURCE, **query}) if body is None else body
    return server.client.post("/api/v1/tables/query", content=content, headers={"content-type": "application/json"})


def test_an_answer_has_the_shape_of_the_contract(server: Server) -> None:
    """Numbers that JSON lacks travel as objects, both ways."""
    answer = ask(server, filter={"score": {"$float": "nan"}}, limit=2, columns=["id", "score"])

    assert answer.status_code == 200
    found = answer.json()
    assert found["rows"] == [[101, {"$float": "nan"}], [202, {"$float": "nan"}]]
    assert found.keys() == {
        "columns", "rows", "row_ids", "offset", "total", "more", "histograms", "all_columns", "all_rows", "step", "mode",
    }  # fmt: skip
    assert found["more"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"source": {"run": "local/p/one", "key": "absent"}}, 404),
        ({"source": {"run": "local/p/absent", "key": "pred"}}, 404),
        ({"source": {"run": "../../etc", "key": "pred"}}, 422),
        ({"source": {"run": "a/b", "key": "pred"}}, 422),
        ({"source": {"run": "local/p/%2e%2e%2f%2e%2e", "key": "pred"}}, 422),
        ({"source": {"run": "local/p/one", "key": "pred\0"}}, 404),
        ({"source": {"path": "/etc/passwd"}}, 422),
        ({"source": {"artifact": "local/p/../..:v0", "path": "../x"}}, 404),
        ({"source": None}, 422),
        ({"filter": {"truth": "\ud800"}}, 422),
        ({"filter": {"\ud800": 1}}, 422),
        ({"columns": ["\ud800"]}, 422),
        ({"source": {"run": "local/p/one", "key": "\ud800"}}, 422),
        ({"group": {"by": ["truth"], "aggregates": [{"function": "count", "name": '\0"'}]}}, 200),
        ({"filter": {"id": {"$int": "9" * 2000}}}, 422),
        ({"filter": {"id": {"$in": [1] * 100_000}}}, 422),
        ({"sort": [{"column": "id"}] * 17}, 422),
        ({"columns": ["id"] * 10_001}, 422),
        ({"histograms": [{"column": "id", "bins": 10**9}]}, 422),
        ({"offset": 2**63}, 422),
        ({"limit": 1e9}, 422),
    ],
)
def test_what_makes_no_sense_is_refused(server: Server, query: dict[str, Any], status: int) -> None:
    answer = ask(server, **query)

    assert answer.status_code == status, answer.text
    assert status == 200 or set(answer.json()) == {"detail"}


def test_bodies_that_are_no_query(server: Server) -> None:
    """Nested without end, too long, or no JSON at all."""
    deep = '{"source": {"run": "local/p/one", "key": "pred"}, "filter": ' + '{"$not":' * 100_000 + "{}" + "}" * 100_001
    for body, status in ((deep.encode(), (400, 422)), (b"{", (422,)), (b"[]", (422,)), (b"x" * (2 << 20), (413,))):
        answer = ask(server, body)

        assert answer.status_code in status, answer.text
    assert ask(server).json()["total"] == 5000
