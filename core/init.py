"""`tracker.init`: from arguments and settings to an open run. A folder, a journal and a thread; nothing waits."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import capture, exits, family, forks, platforms, resume
from .clock import Clock
from .complaints import Complaints, is_strict, tell
from .config import Config
from .current import current, enter, leave, reachable
from .disabled import DisabledRun
from .errors import StorageError, TrackerError, UsageError
from .journal import Journal
from .names import check_name, random_id, random_name, to_folder
from .paths import DEFAULT_ENTITY, RunPath, data_root, host_name, temporary_root
from .processes import whereabouts
from .record import Kind, encode_control
from .run import Run
from .settings import Resolved, Settings, resolve
from .sources import defaults, from_any
from .values import plain

if TYPE_CHECKING:
    from .uploads import Uploads

DEFAULT_PROJECT = "uncategorized"
# Where there is one of these, several processes may have been launched together.
_LAUNCHED = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
_NOT_YET = ("anonymous", "magic")


def init(
    entity: str | None = None,
    project: str | None = None,
    dir: str | os.PathLike[str] | None = None,
    id: str | None = None,
    name: str | None = None,
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    config: Any = None,
    config_exclude_keys: Sequence[str] | None = None,
    config_include_keys: Sequence[str] | None = None,
    allow_val_change: bool | None = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: str | None = None,
    force: bool | None = None,
    reinit: bool | str | None = None,
    resume: bool | str | None = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    save_code: bool | None = None,
    sync_tensorboard: bool | None = None,
    monitor_gym: bool | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    **older: Any,
) -> Run:
    """Begin a run, or go on with one.

    The names, their order and their meaning are W&B's. What is not given comes from the environment (`TRACKER_*`),
    the project's and the user's files, and the defaults, in this order; `tracker status` shows the outcome.

    Args:
        entity: Whose project it is; on one machine there is no need for it.
        project: The project; "uncategorized" without one.
        dir: The folder that keeps the runs; `TRACKER_DIR`, or the user's data folder.
        id: The run's id; made up without one. One that exists goes on with that run.
        name: What people read; made up without one.
        notes: Free text.
        tags: Labels.
        config: Hyperparameters: a dict, `argparse.Namespace`, dataclass, OmegaConf, or the path of a YAML file.
        config_exclude_keys: Keys of `config` to leave out.
        config_include_keys: Keys of `config` to keep, all others left out.
        allow_val_change: Let a config value be changed later.
        group: Runs that belong together.
        job_type: What the run does: "train", "eval", ...
        mode: "online" (sent to a server where one is configured), "offline", or "disabled".
        force: Accepted as in W&B; tracker needs no login.
        reinit: What to do when a run is open already: "return_previous" (the default in scripts), "finish_previous"
            (the default in notebooks; True means this), "create_new".
        resume: "allow", "must", "never" or "auto"; True means "auto".
        resume_from: "id?_step=N": go on with that run from step N; rows behind it are kept, and hidden.
        fork_from: "id?_step=N": a new run that begins with that one's rows up to step N.
        save_code: Keep the code with the run.
        sync_tensorboard: Log what is written for TensorBoard, by torch, tensorboardX and tf.summary.
        monitor_gym: Log the videos that Gymnasium's `RecordVideo` makes.
        settings: `tracker.Settings(...)`, or a dict of its fields.
        older: Arguments of older days, accepted with a notice.

    Returns:
        The run; a stand-in that does nothing where the mode is "disabled".

    Raises:
        UsageError: An argument cannot be used as given.
        StorageError: Only under `TRACKER_STRICT=1`: the folder cannot be written. Otherwise the run is kept in the
            temporary folder, and that is said.
    """
    arguments = {key: value for key, value in locals().items() if key not in ("settings", "older", "config")}
    if older.get("tensorboard") is not None and sync_tensorboard is None:  # its older name
        arguments["sync_tensorboard"] = older["tensorboard"]
    older.pop("tensorboard", None)
    chosen = resolve(arguments, settings)
    complaints = Complaints(is_silent=bool(chosen.silent))
    for argument in sorted(older):
        state = "is not supported yet" if argument in _NOT_YET else "is not known"
        complaints.say(f"init() was given {argument}, which {state}; it has no effect.")
    allow = bool(chosen.allow_val_change)
    values = from_any(config, config_include_keys, config_exclude_keys)
    if chosen.mode == "disabled":
        return _disabled(chosen, values, allow)
    previous_run = _before(chosen.reinit, complaints)
    if previous_run is not None:
        previous_run.config.update(values, allow_val_change=True)
        capture.extend(previous_run, chosen)
        return previous_run
    if chosen.x_primary is False or chosen.x_update_finish_state is False:
        from . import secondary  # the primary process of a run does not need it

        return secondary.begin(chosen, values, DEFAULT_PROJECT, complaints)
    return _begin(chosen, values, allow, complaints)


def _before(reinit: bool | str | None, complaints: Complaints) -> Run | None:
    """Deal with a run that is open already: answer it, or finish it, or let it be."""
    run = current()
    if run is None or run.disabled:
        return None
    if run.released:  # a training that is over had it
        run.finish()
        return _before(reinit, complaints)
    choice = {True: "finish_previous", False: "return_previous", None: "default"}.get(reinit, reinit)  # type: ignore[arg-type]
    if choice == "default":
        choice = "finish_previous" if exits.in_notebook() else "return_previous"
    if choice == "return_previous":
        complaints.say(
            f"the run {run.name!r} is open already and is gone on with. Call run.finish() first, or "
            "init(reinit='create_new'), for another one."
        )
        return run
    if choice == "finish_previous":
        for open_run in reachable():
            open_run.finish()
    elif choice != "create_new":
        raise UsageError(
            f"reinit is {reinit!r}; it can be 'default', 'return_previous', 'finish_previous' or 'create_new'."
        )
    return None


def _disabled(chosen: Resolved, values: dict[str, Any], allow: bool) -> Run:
    config = Config(None, allow)
    config.update(values)
    fields = _fields(chosen)
    fields.update(id=chosen.run_id, entity=chosen.entity or DEFAULT_ENTITY, project=chosen.project or DEFAULT_PROJECT)
    run = DisabledRun(fields, config, temporary_root())
    enter(run)  # type: ignore[arg-type]
    return run  # type: ignore[return-value]


def _begin(chosen: Resolved, values: dict[str, Any], allow: bool, complaints: Complaints) -> Run:
    root = Path(chosen.dir).expanduser().absolute() if chosen.dir else data_root()
    entity = check_name(chosen.entity or DEFAULT_ENTITY, "entity")
    project = check_name(chosen.project or DEFAULT_PROJECT, "project")
    if chosen.run_id is None and any(name in os.environ for name in _LAUNCHED):
        chosen.run_id = _launched_id(root, entity, project, chosen)
    plan = resume.plan(root, entity, project, chosen)
    if chosen.sources.get("run_id") == platforms.SOURCE:
        platforms.begin()
    path = RunPath(entity, project, check_name(plan.run_id or random_id(), "run id"))
    clock = Clock()
    keeper_wake: list[Any] = []
    journal, folder = _open_journal(
        root, path, clock, complaints, on_roll=lambda: keeper_wake[0]() if keeper_wake else None
    )
    previous = plan.previous
    is_resumed = previous is not None and plan.copy_from is None
    fields = dict(previous.fields) if previous else {}
    fields.update({key: value for key, value in _fields(chosen).items() if value is not None})
    fields.setdefault("name", None)
    if not fields["name"]:
        fields["name"] = random_name(_number(folder.parent))
    fields.update(
        id=path.id,
        entity=entity,
        project=project,
        host=host_name(),
        whereabouts=whereabouts(),
        pid=os.getpid(),
        program=sys.argv[0] if sys.argv else None,
        stream=journal.id,
        resumed=is_resumed,
        forked_from=plan.forked_from,
    )

    def record(kind: Kind, body: dict[str, Any]) -> None:
        journal.append(kind, encode_control(clock.now_ns(), body))

    record(Kind.RUN, {key: plain(value) for key, value in fields.items() if value is not None})
    if plan.rewind_to is not None:
        record(Kind.REWIND, {"step": plan.rewind_to})
    linked: list[str] = []
    if plan.copy_from is not None:
        linked = resume.link_blobs(plan.copy_from, folder)  # before the rows that refer to them
        resume.copy_history(plan.copy_from, plan.copy_to_step, journal)

    config = Config(config_recorder(record, chosen, complaints), allow)
    if previous:
        config.preload(previous.config)
    config.update(values, allow_val_change=True)
    config.setdefaults(defaults())
    run = Run(
        path,
        folder,
        fields,
        journal,
        clock,
        complaints,
        config,
        settings=chosen,
        first_step=plan.first_step,
        is_resumed=is_resumed,
        base_url=chosen.base_url if chosen.mode == "online" else None,
    )
    if previous:
        previous.hand_over(run)
    keeper_wake.append(run._keeper.wake)
    run._on_end.append(leave)
    run._on_end.append(lambda ended: family.untell(ended, current()))
    run._on_end.append(exits.forget)
    run._on_end.append(lambda ended: resume.remember(folder.parent, ended.id, ended.state))
    run._keeper.start()
    start_sender(run, chosen, root, complaints)
    if linked and run._uploads is not None:
        run._uploads.blobs("run", linked)
    enter(run)
    family.tell(run)
    exits.watch(run)
    forks.install()  # before there are threads that load anything
    capture.begin(run, chosen)
    resume.remember(folder.parent, run.id, "running")
    if not chosen.quiet:
        _greet(run, root, complaints)
    return run


def _launched_id(root: Path, entity: str, project: str, chosen: Resolved) -> str | None:
    """Answer the id of a run that ranks share, where they were launched together and nothing speaks for another."""
    from .launch import next_id  # ranks only
    from .ranks import rank

    if rank() != 0 or chosen.resume or chosen.resume_from or chosen.fork_from:
        return None
    return next_id(root / to_folder(entity) / to_folder(project))


def _fields(chosen: Resolved) -> dict[str, Any]:
    tags = chosen.tags
    return {
        "name": chosen.name,
        "notes": chosen.notes,
        "tags": [tags] if isinstance(tags, str) else [str(tag) for tag in tags] if tags else None,
        "group": chosen.group,
        "job_type": chosen.job_type,
    }


def _open_journal(
    root: Path, path: RunPath, clock: Clock, complaints: Complaints, on_roll: Any
) -> tuple[Journal, Path]:
    try:
        return _open_journal_in(root, path, clock, complaints, on_roll)
    except OSError as error:
        if is_strict():
            raise StorageError(f"the folder {root} cannot be written: {error}") from error
        spare = Path(temporary_root()) / f"tracker-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
        complaints.say(
            f"the folder {root} cannot be written ({error}). Training goes on and the run is kept in {spare}. "
            "Set TRACKER_DIR to a folder you can write to."
        )
        try:
            spare.mkdir(mode=0o700, exist_ok=True)
            if hasattr(os, "getuid") and spare.lstat().st_uid != os.getuid():
                raise PermissionError(f"{spare} belongs to somebody else")
            return _open_journal_in(spare, path, clock, complaints, on_roll)
        except OSError as last:
            raise StorageError(
                f"neither {root} ({error}) nor {spare} ({last}) can be written. "
                "Free some space, or set TRACKER_DIR to a folder you can write to, or TRACKER_MODE=disabled."
            ) from last


def _open_journal_in(
    root: Path, path: RunPath, clock: Clock, complaints: Complaints, on_roll: Any
) -> tuple[Journal, Path]:
    folder = path.folder(root)
    journal = Journal(folder / "streams", clock, say=complaints.say, on_roll=on_roll)
    (folder / "files").mkdir(exist_ok=True)
    return journal, folder


def config_recorder(
    record: Callable[[Kind, dict[str, Any]], None], chosen: Resolved, complaints: Complaints
) -> Callable[[dict[str, Any], list[list[str]]], None]:
    """Answer what writes changes of the config down: with secrets masked, and that said."""

    def record_config(kept: dict[str, Any], removed: list[list[str]]) -> None:
        if kept and chosen.redact is not False:
            from .redaction import MASK, redact_values  # only where there is something to look at

            kept, masked = redact_values(kept)  # what the program reads stays as it is
            for name in masked:
                complaints.once(
                    f"masked {name}",
                    f"the config value {name!r} looks like a secret and is kept as {MASK!r}; "
                    "settings={'redact': False} keeps such values as they are.",
                )
        record(Kind.CONFIG, {"set": kept, "remove": removed})

    return record_config


def start_sender(run: Run, chosen: Resolved, root: Path, complaints: Complaints) -> None:
    """Begin to send a run, where there is a server to send it to."""
    if chosen.mode != "online" or not chosen.base_url:
        return
    from .delivery import Delivery
    from .sender import Sender  # only where there is a server: it costs memory and a second thread
    from .transport import HttpTransport

    def make_uploads() -> Uploads:
        from .uploads import Uploads  # threads and HTTP: only where there are bytes

        return Uploads(
            run.path_,
            run.folder,
            run.folder.parents[2],
            transport.connection.twin(),
            say=complaints.say,
            is_silent=complaints.is_silent,
        )

    def take_leftovers(is_wanted: Callable[[], bool]) -> None:
        if run._delivery is not None:
            run._delivery.take_leftovers(root, is_wanted)

    try:
        transport = HttpTransport(chosen.base_url, chosen.api_key)
        run._sender = Sender.for_journal(
            run._journal,
            run.path_,
            transport,
            root=root,
            say=complaints.say,
            after_others=take_leftovers,
            is_silent=complaints.is_silent,
        )
        run._delivery = Delivery(run._sender, make_uploads)
        run._sender.start()
    except (TrackerError, RuntimeError, OSError) as error:
        complaints.say(
            f"nothing is sent to {chosen.base_url} ({error}); the run is kept here. Send it with: tracker sync"
        )


def _number(project: Path) -> int:
    try:
        return len([name for name in os.listdir(project) if not name.startswith(".")])
    except OSError:
        return 1


def _greet(run: Run, root: Path, complaints: Complaints) -> None:
    where = run.url or "see it with: tracker ui" + ("" if root == data_root() else f" {root}")
    tell(
        f"run {run.name} ({run.project}/{run.id}){' goes on' if run.resumed else ''} · {where}",
        is_silent=complaints.is_silent,
    )
