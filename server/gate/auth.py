"""Who may ask what: one function, deny by default.

On loopback with no key set up everything is open to whoever is on this machine. Once there is a key, all but the few
paths below want it: as a bearer header, or as the cookie that the login page sets.
"""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

from starlette.types import Scope

from .keys import Key, KeyFile, is_well_formed
from .security import RefusedError

COOKIE = "tracker_session"
# Neither of them tells anything of a run.
OPEN_PATHS = frozenset(("/api/v1/health", "/login", "/favicon.ico", "/favicon.svg", "/robots.txt"))
OPEN_FOLDERS = ("/assets/", "/builtin/")

Authorise = Callable[[Scope, dict[str, str]], None]


def policy(keys: KeyFile | None, *, is_required: bool = False) -> Authorise:
    """Answer the function that lets a request in or raises `RefusedError`.

    Args:
        keys: The keys; None for a server that has none.
        is_required: Refuse even while there is no key: the server can be reached from elsewhere.
    """

    def authorise(scope: Scope, headers: dict[str, str]) -> None:
        path: str = scope["path"]
        if keys is None or (not is_required and not keys.keys()):
            return
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
            return
        if caller(keys, headers) is not None:
            return
        if path.startswith(("/api", "/openapi.json")) or scope["method"] not in ("GET", "HEAD"):
            raise RefusedError(
                401, "this server wants an API key: set TRACKER_API_KEY, or send 'Authorization: Bearer tk_...'."
            )
        raise RefusedError(303, f"/login?next={quote(path, safe='/')}")

    return authorise


def caller(keys: KeyFile, headers: dict[str, str]) -> Key | None:
    """Answer the key that came with a request, or None."""
    scheme, _, text = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        text = text.strip()
        return keys.check(text) if is_well_formed(text) else None
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return keys.check_session(morsel.value) if morsel else None


def is_open(path: str) -> bool:
    """Answer whether a path is open to everyone; the tests hold the table of routes against it."""
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)
