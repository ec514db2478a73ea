"""What TensorBoard's tags are called in a run: by the folder that their writer writes to, where there are several."""

from __future__ import annotations

import os

from ._tensorboard_files import event_files

# Folders that say which data was used: Keras writes `train` and `validation`, others follow.
_SPLITS = ("train", "training", "val", "valid", "validation", "eval", "evaluation", "test", "dev")
_MAX_LEVELS = 3


class Names:
    """The names of one run's values.

    The folder of the first writer is the root, or the folder above it where it is called as a split of the data is
    ("train"); values of other writers have their folder, as seen from there, before their tag.

    Args:
        root: The folder that names begin in, where it is known.
    """

    def __init__(self, root: str | None = None) -> None:
        self._root = None if root is None else _whole(root)
        self._spaces: dict[str, str] = {}
        self._names: dict[tuple[str, str], str] = {}

    def of(self, logdir: str, tag: str) -> str:
        """Answer the name of a tag."""
        name = self._names.get((logdir, tag))
        if name is None:
            name = self._names[logdir, tag] = self._name(logdir, tag)
        return name

    def _name(self, logdir: str, tag: str) -> str:
        space = self.see(logdir)
        above, _, last = space.rpartition("/")
        # torch's add_scalars writes the tag `loss` to a folder `loss_train`, tensorboardX's to `loss/train`.
        flat = tag.replace("/", "_") + "_"
        if last.startswith(flat) and len(last) > len(flat):
            return "/".join(filter(None, (above, tag, last[len(flat) :])))
        if above == tag or above.endswith("/" + tag):
            return space
        return f"{space}/{tag}" if space else tag

    def is_of_hparams(self, logdir: str) -> None:
        """Note that a folder is one trial's: `add_hparams` names it by the time."""
        self.see(logdir)
        above, _, last = self._spaces[logdir].rpartition("/")
        if last.replace(".", "", 1).isdigit():
            self._spaces[logdir] = above
            self._names.clear()

    def see(self, logdir: str) -> str:
        """Take note of a folder, and answer what goes before its tags."""
        space = self._spaces.get(logdir)
        if space is None:
            whole = _whole(logdir)
            if self._root is None:
                self._root = _root_for(whole)
            space = os.path.relpath(whole, self._root).replace(os.sep, "/")
            while space.startswith("../"):  # beside the root, not in it
                space = space[3:]
            if space in (".", ".."):
                space = "" if space == "." else os.path.basename(whole)
            self._spaces[logdir] = space
        return space


def _root_for(folder: str) -> str:
    above = folder
    for _ in range(_MAX_LEVELS):  # of add_scalars: the writer's own folder is further up, and has files already
        above = os.path.dirname(above)
        if event_files(above):
            folder = above
    return os.path.dirname(folder) if os.path.basename(folder).lower() in _SPLITS else folder


def _whole(path: str) -> str:
    return path.rstrip("/") if "://" in path else os.path.abspath(os.path.expanduser(path))
