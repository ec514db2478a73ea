"""A server as a source: the HTTP API, version 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec
import requests

from ..artifacts.place import Place, remote_place
from ..errors import TrackerError, TransportError, UsageError
from ..files import NamedFile
from ..http import Authorization
from ..journal import Block, scan
from ..limits import CONNECT_TIMEOUT_SECONDS
from ..paths import RunPath
from ..printed import ConsolePage
from ..record import Kind
from ..samples import Stream
from ..wire import from_json, to_json
from .console import page_from
from .source import Page, Project, RunInfo

_CHUNK_BYTES = 1 << 20
_DETAILS = ("streams", "alerts", "metrics", "exit", "fields", "lost", "system_metrics", "environment")


class HttpSource:
    """Reads from a server.

    Args:
        base_url: Its address.
        api_key: The key, where it wants one.
        timeout: Seconds to wait for an answer to begin.
    """

    def __init__(self, base_url: str, api_key: str | None = None, timeout: float = 30.0) -> None:
        self.base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._place: Place | None = None
        self._timeout = (CONNECT_TIMEOUT_SECONDS, timeout)
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "tracker"
        host = urlsplit(self.base_url).hostname or ""
        if host in ("localhost", "::1") or host.startswith("127."):
            self._session.trust_env = False  # a proxy of the environment does not reach this machine
        # As an `auth`, not a header: `requests` would let a password from ~/.netrc replace a header.
        self._session.auth = Authorization(api_key, None)

    @property
    def name(self) -> str:
        """The address."""
        return self.base_url

    def health(self) -> dict[str, Any]:
        """Answer what the server says of itself."""
        return dict(self._json("GET", "/health"))

    def projects(self) -> list[Project]:
        """Answer all projects, the last active first."""
        return [
            Project(p["entity"], p["project"], p["runs"], p["states"], p["last_activity_ns"])
            for p in self._json("GET", "/projects")["projects"]
        ]

    def runs(
        self,
        entity: str | None,
        project: str | None,
        filters: Mapping[str, Any] | None,
        order: str | None,
        limit: int,
        offset: int,
        trash: bool,
    ) -> Page:
        """Answer a part of a list of runs."""
        query: dict[str, Any] = {"entity": entity, "project": project, "order": order, "limit": limit, "offset": offset}
        if filters:
            query["filter"] = msgspec.json.encode(to_json(filters)).decode()
        if trash:
            query["trash"] = "true"
        answer = self._json("GET", "/runs", params=query)
        return Page(answer["total"], [_info(run) for run in answer["runs"]])

    def run(self, path: RunPath) -> RunInfo | None:
        """Answer one run with its details; None where there is none."""
        try:
            return _info(self._json("GET", f"/runs/{_encoded(path)}"))
        except _NotThere:
            return None

    def metrics(self, entity: str, project: str, stream: Stream = "default") -> list[dict[str, Any]]:
        """Answer the keys that runs of the project have logged, or those of samples of the machine."""
        answer = self._json(
            "GET", f"/projects/{quote(entity, safe='')}/{quote(project, safe='')}/metrics", params={"stream": stream}
        )
        return list(answer["metrics"])

    def history(
        self,
        path: RunPath,
        keys: Sequence[str] | None,
        low: float | None,
        high: float | None,
        stream: Stream = "default",
    ) -> Iterator[Block]:
        """Walk all rows in order of step, as they arrive."""
        query: dict[str, Any] = {"keys": None if keys is None else list(keys), "min_step": low, "max_step": high}
        if stream != "default":  # older servers know no other
            query["stream"] = stream
        answer = self._ask("GET", f"/runs/{_encoded(path)}/history", params=query, stream=True)
        try:
            yield from _blocks(answer.iter_content(_CHUNK_BYTES))
        except requests.RequestException as error:
            raise TransportError(f"the answer of {self.base_url} broke off: {error}. Try again.") from error
        finally:
            answer.close()

    def files(self, path: RunPath) -> list[NamedFile]:
        """Answer the run's named files, sorted."""
        return [
            NamedFile(file["name"], file["digest"], file["size"], file["kind"], file["time_ns"], file["more"])
            for file in self._json("GET", f"/runs/{_encoded(path)}/files")["files"]
        ]

    def file(self, path: RunPath, file: NamedFile) -> Iterator[bytes]:
        """Walk the bytes of one of them, as they arrive."""
        return self._bytes(_file_route(path, file.name))

    def blob(self, path: RunPath, digest: str) -> Iterator[bytes]:
        """Walk the bytes of one of the run's own blobs, as they arrive."""
        return self._bytes(f"/runs/{_encoded(path)}/blobs/{quote(digest, safe='')}")

    def _bytes(self, route: str) -> Iterator[bytes]:
        answer = self._ask("GET", route, stream=True)
        try:
            yield from answer.iter_content(_CHUNK_BYTES)
        except requests.RequestException as error:
            raise TransportError(f"the answer of {self.base_url} broke off: {error}. Try again.") from error
        finally:
            answer.close()

    def file_url(self, path: RunPath, name: str) -> str:
        """Answer where the server has it."""
        return f"{self.base_url}/api/v1{_file_route(path, name)}"

    def tables(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a question over tables."""
        return dict(
            self._json(
                "POST",
                "/tables/query",
                data=msgspec.json.encode(to_json(query)),
                headers={"Content-Type": "application/json"},
            )
        )

    def console(self, path: RunPath, wanted: Mapping[str, Any]) -> ConsolePage:
        """Answer a part of what a run has printed."""
        names = {"levels": "level", "sources": "source", "ranks": "rank"}
        query = {names.get(name, name): value for name, value in wanted.items() if value is not None}
        if query.get("last") is not None:
            query["last"] = "true" if query["last"] else "false"
        return page_from(self._json("GET", f"/runs/{_encoded(path)}/console", params=query))

    def edit(self, path: RunPath, changes: Mapping[str, Any]) -> None:
        """Change name, notes, tags, group, config or summary."""
        self._ask(
            "PATCH",
            f"/runs/{_encoded(path)}",
            data=msgspec.json.encode(to_json(changes)),
            headers={"Content-Type": "application/json"},
        )

    def delete(self, path: RunPath) -> None:
        """Move a run to the trash."""
        self._ask("DELETE", f"/runs/{_encoded(path)}")

    def restore(self, path: RunPath) -> None:
        """Take a run out of the trash."""
        self._ask("POST", f"/runs/{_encoded(path)}/restore")

    def url(self, path: RunPath) -> str:
        """Answer the run's page."""
        entity, project, run = (quote(part, safe="") for part in path)
        return f"{self.base_url}/{entity}/{project}/runs/{run}"

    def place(self) -> Place:
        """Answer where the artifacts are; what is fetched of them stays in the user's cache."""
        if self._place is None:
            self._place = remote_place(self.base_url, self._api_key)
        return self._place

    def close(self) -> None:
        """Let the connections go."""
        self._session.close()

    def _json(self, method: str, route: str, **options: Any) -> Any:
        answer = self._ask(method, route, **options)
        try:
            content = answer.content
            found = msgspec.json.decode(content)
            # Nothing to turn back in most answers; a list of thousands is quick only then.
            return from_json(found) if b'"$' in content else found
        except msgspec.DecodeError as error:
            raise TransportError(
                f"{self.base_url} does not answer as a tracker server does ({error}). Check the address."
            ) from error

    def _ask(self, method: str, route: str, **options: Any) -> requests.Response:
        try:
            answer = self._session.request(
                method, f"{self.base_url}/api/v1{route}", timeout=self._timeout, allow_redirects=False, **options
            )
        except requests.RequestException as error:
            raise TransportError(
                f"the server {self.base_url} cannot be reached ({type(error).__name__}). "
                "Check the address, and that it runs: tracker ui, or tracker server."
            ) from error
        if answer.ok and answer.status_code < 300:
            return answer
        raise _refusal(self.base_url, answer)


class _NotThere(UsageError):
    """What the address names does not exist."""


def _refusal(base_url: str, answer: requests.Response) -> TrackerError:
    """Answer the error for a refusal: what the folder would say of the same call, where it is about the call."""
    status = answer.status_code
    if status in (401, 403):
        return TransportError(
            f"the server {base_url} wants an API key, or another one (HTTP {status}). "
            "Set TRACKER_API_KEY, or pass Api(api_key=...).",
            status=status,
        )
    try:
        detail = str(msgspec.json.decode(answer.content)["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return TransportError(
            f"{base_url} does not answer as a tracker server does (HTTP {status}). Check the address.", status=status
        )
    if status == 404:
        return _NotThere(detail)
    if status in (409, 422):
        return UsageError(detail)
    return TransportError(f"the server {base_url} refuses (HTTP {status}): {detail}", status=status)


def _file_route(path: RunPath, name: str) -> str:
    return f"/runs/{_encoded(path)}/files/{quote(name)}"


def _encoded(path: RunPath) -> str:
    return "/".join(quote(part, safe="") for part in path)


def _blocks(chunks: Iterator[bytes]) -> Iterator[Block]:
    rest = b""
    for chunk in chunks:
        rest += chunk
        end = 0
        for frame in scan(rest):
            end = frame.end
            if frame.kind == Kind.BLOCK:
                yield Block.from_frame(frame)
        rest = rest[end:]
    if rest:
        raise TransportError(f"the answer ends with {len(rest)} bytes that are no whole frame. Try again.")


def _info(run: Mapping[str, Any]) -> RunInfo:
    return RunInfo(
        path=RunPath(*(unquote(part) for part in run["path"].split("/"))),
        name=run["name"],
        state=run["state"],
        created_ns=run["created_ns"] or 0,
        updated_ns=run["updated_ns"] or 0,
        ended_ns=run["ended_ns"],
        group=run["group"],
        job_type=run["job_type"],
        tags=list(run["tags"]),
        notes=run["notes"],
        host=run["host"],
        config=run["config"],
        summary=run["summary"],
        last_step=run["last_step"],
        points=run["points"],
        trashed=bool(run.get("trashed")),
        details={key: run[key] for key in _DETAILS if key in run},
    )
