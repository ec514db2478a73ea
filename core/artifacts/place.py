"""Where artifacts are: the catalogue, the bytes, and a folder of ours that holds them or is a cache of them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..blobs import FolderBlobs
from ..complaints import tell
from ..errors import UsageError
from ..limits import ARTIFACT_CACHE_BYTES, CACHE_TRIM_INTERVAL_SECONDS
from ..paths import DEFAULT_ENTITY, artifacts_folder, blobs_folder, cache_root
from ..sizes import parse_size
from .catalogue import Catalogue, FolderCatalogue
from .manifest import Manifest
from .restoring import Blobs, LocalBlobs
from .shares import Shares
from .version import Version, parse_name

if TYPE_CHECKING:
    from ..query import Api

_KEPT_MANIFESTS = 8
_local: dict[Path, Place] = {}
_lock = threading.Lock()


class Place:
    """A folder of runs with its artifacts, or a server together with the folder that caches its bytes.

    Args:
        name: For messages.
        root: The folder of runs.
        catalogue: Which versions there are.
        blobs: Where their bytes come from.
        store: The local folder of blobs: what is made here goes there first.
        open_api: Opens what answers who made and read a version.
        is_cache: `store` holds nothing but what was fetched.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        catalogue: Catalogue,
        blobs: Blobs,
        store: FolderBlobs,
        open_api: Callable[[], Api],
        is_cache: bool = False,
    ) -> None:
        self.name = name
        self.root = root
        self.catalogue = catalogue
        self.blobs = blobs
        self.store = store
        self.shares = Shares(artifacts_folder(root))
        self.is_cache = is_cache
        self._trimmed = float("-inf")
        self._open_api = open_api
        self._api: Api | None = None
        self._manifests: dict[str, Manifest] = {}

    @property
    def api(self) -> Api:
        """What answers questions about runs here."""
        if self._api is None:
            self._api = self._open_api()
        return self._api

    def manifest(self, version: Version) -> Manifest:
        """Answer the list of files of a version.

        Raises:
            StorageError, TransportError: It cannot be had.
        """
        found = self._manifests.get(version.manifest)
        if found is None:
            self.blobs.fetch([version.manifest])
            found = Manifest.load(self.blobs.read(version.manifest))
            while len(self._manifests) >= _KEPT_MANIFESTS:
                self._manifests.pop(next(iter(self._manifests)), None)
            self._manifests[version.manifest] = found
        return found

    def downloaded(self) -> None:
        """Take note that files were brought: a cache is kept within its bounds, now and then."""
        if not self.is_cache or time.monotonic() - self._trimmed < CACHE_TRIM_INTERVAL_SECONDS:
            return
        self._trimmed = time.monotonic()
        from .gc import trim

        text = os.environ.get("TRACKER_ARTIFACT_CACHE_SIZE")
        try:
            trim(self.store, parse_size(text) if text else ARTIFACT_CACHE_BYTES)
        except (OSError, UsageError) as error:
            tell(f"the cache {self.store.folder} is not kept within its bounds: {error}", level=30)

    def find(self, text: str, entity: str | None = None, project: str | None = None) -> Version:
        """Answer the version that a user means by a name.

        Args:
            text: Such as `name:latest`; see `parse_name`.
            entity: Whose it is, unless the text says so.
            project: In which project, unless the text says so.

        Raises:
            UsageError: There is no such version.
        """
        name = parse_name(text, entity or DEFAULT_ENTITY, project)
        owner = str(name.entity)
        if name.project is None:
            raise UsageError(f"{text!r} names no project; write 'project/name:alias', or 'entity/project/name:alias'.")
        version = self.catalogue.version(owner, name.project, name.name, name.which)
        if version is None:
            raise UsageError(self._not_there(owner, name.project, name.name, name.which))
        return version

    def _not_there(self, entity: str, project: str, name: str, which: str) -> str:
        found = self.catalogue.collection(entity, project, name)
        if found is not None:
            known = ", ".join([*found.aliases][:8]) or "no version any more"
            return f"the artifact {found.path} has no {which!r} in {self.name}; it has {known}."
        from difflib import get_close_matches  # only where a name is wrong

        names = [each.name for each in self.catalogue.collections(entity, project)]
        near = get_close_matches(name, names, 3, 0.5)
        hint = f"did you mean {', '.join(map(repr, near))}?" if near else f"it has {', '.join(names[:8]) or 'none'}."
        return f"there is no artifact {name!r} in {entity}/{project} of {self.name}; {hint}"


def local_place(root: Path) -> Place:
    """Answer the place of a folder of runs; the same one each time, so that what was read stays read."""
    root = root.absolute()
    with _lock:
        if root not in _local:
            store = FolderBlobs(blobs_folder(root))

            def open_api() -> Api:
                from ..query import Api  # SQLAlchemy and numpy: only for who asks

                return Api(dir=root)

            _local[root] = Place(
                str(root), root, FolderCatalogue(artifacts_folder(root)), LocalBlobs(store), store, open_api
            )
        return _local[root]


def remote_place(address: str, key: str | None, root: Path | None = None) -> Place:
    """Answer the place of a server.

    Args:
        address: Its address.
        key: The key, where it wants one.
        root: The folder of runs whose folder of blobs keeps what is fetched; the user's cache without one.
    """
    from ..connection import Connection
    from .fetching import FetchedBlobs
    from .remote import RemoteCatalogue

    store = FolderBlobs(cache_root() / "blobs" if root is None else blobs_folder(root))
    connection = Connection(address, key)

    def open_api() -> Api:
        from ..query import Api

        return Api(base_url=address, api_key=key)

    return Place(
        connection.address,
        cache_root() if root is None else root,
        RemoteCatalogue(connection),
        FetchedBlobs(store, connection.twin()),
        store,
        open_api,
        is_cache=root is None,
    )
