"""`tracker ls`, `tracker show`, `tracker rm`: the runs, in the folder or on a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..errors import TrackerError, UsageError
from . import output
from .output import Column, clean

if TYPE_CHECKING:
    from ..query import Api, Run


def where(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where runs are read from."""
    command = click.option("--url", metavar="URL", help="Read from this server instead of the folder.")(command)
    return click.option("--dir", metavar="FOLDER", help="The folder that keeps the runs.")(command)


def api(dir: str | None, url: str | None) -> Api:
    """Open what the options name."""
    from ..query import Api  # requests, or SQLAlchemy and numpy: not for --help

    if dir and url:
        raise click.UsageError("--dir and --url cannot both be given: one names a folder, the other a server.")
    return Api(dir=dir, base_url=url)


@click.command()
@click.argument("project", required=False)
@click.option("--projects", is_flag=True, help="List projects instead of runs.")
@click.option("--state", help="Only runs in this state: running, finished, failed, killed, crashed, preempted.")
@click.option("--filter", "filters", metavar="JSON", help='Mongo style: \'{"config.lr": {"$lt": 0.1}}\'.')
@click.option("--sort", metavar="NAME", default="-created_at", show_default=True, help="summary.loss, -config.lr, ...")
@click.option("--key", "-k", "keys", multiple=True, help="Show this summary value too; may be repeated.")
@click.option("--limit", "-n", default=50, show_default=True, type=click.IntRange(1), help="How many at most.")
@click.option("--trash", is_flag=True, help="List the runs in the trash.")
@where
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(
    project: str | None,
    projects: bool,
    state: str | None,
    filters: str | None,
    sort: str,
    keys: tuple[str, ...],
    limit: int,
    trash: bool,
    dir: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """List runs, the newest first.

    \b
    Examples:
      tracker ls
      tracker ls digits -k val/accuracy --sort=-summary.val/accuracy
      tracker ls --projects
      tracker ls --url http://team:7878 --state running --json
    """
    with api(dir, url) as source:
        if projects:
            _projects(source, as_json)
            return
        wanted = _filter(filters, state)
        runs = source.runs(project, filters=wanted, order=sort, per_page=min(limit, 1000), trash=trash)
        total = len(runs)
        found = runs[:limit]
    if as_json:
        output.print_json([_as_json(run) for run in found])
        return
    if not found:
        what = "the trash holds no runs" if trash else "no run matches" if wanted else "no runs"
        click.echo(f"{what} in {source.source}.{'' if wanted or trash else ' Make some with: tracker demo'}")
        return
    columns = [
        Column("ID", [run.id if project else f"{run.project}/{run.id}" for run in found], least=10),
        Column("NAME", [run.name for run in found]),
        Column("STATE", [run.state for run in found]),
        Column("STARTED", [output.ago(run._info.created_ns) for run in found], least=11),
        Column("TOOK", [output.duration(run.duration) for run in found], True, least=5),
        Column("STEP", [output.number(run.last_step) for run in found], True, least=4),
    ]
    columns += [Column(key, [output.number(run.summary.get(key)) for run in found], True) for key in keys]
    output.print_table(columns, [run.state for run in found])
    if total > len(found):
        click.echo(f"{total - len(found):,} more; show them with: --limit {total}")


def _projects(source: Api, as_json: bool) -> None:
    found = source.projects()
    if as_json:
        output.print_json(
            [
                {"entity": p.entity, "project": p.name, "runs": p.runs, "states": dict(p.states),
                 "last_activity_ns": p.last_activity_ns}
                for p in found
            ]
        )  # fmt: skip
        return
    if not found:
        click.echo(f"no runs in {source.source}. Make some with: tracker demo")
        return
    output.print_table(
        [
            Column("PROJECT", [f"{p.entity}/{p.name}" for p in found]),
            Column("RUNS", [f"{p.runs:,}" for p in found], True, least=4),
            Column("STATES", [", ".join(f"{n} {state}" for state, n in p.states.items() if n) for p in found]),
            Column("LAST ACTIVE", [output.ago(p.last_activity_ns) for p in found], least=11),
        ]
    )


def _filter(text: str | None, state: str | None) -> dict[str, Any] | None:
    filters: dict[str, Any] = {}
    if text:
        try:
            filters = json.loads(text)
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is no JSON ({error}).", param_hint="--filter") from None
        if not isinstance(filters, dict):
            raise click.BadParameter('it must be a JSON object: \'{"state": "finished"}\'.', param_hint="--filter")
    if state:
        filters = {"$and": [filters, {"state": state}]} if filters else {"state": state}
    return filters or None


def _as_json(run: Run) -> dict[str, Any]:
    info = run._info
    return {
        "path": run.path, "id": run.id, "entity": run.entity, "project": run.project, "name": run.name,
        "state": run.state, "created_ns": info.created_ns, "updated_ns": info.updated_ns, "ended_ns": info.ended_ns,
        "duration_s": run.duration, "group": run.group, "job_type": run.job_type, "tags": run.tags, "notes": run.notes,
        "host": run.host, "config": run.config, "summary": dict(run.summary), "last_step": run.last_step,
        "points": run.points, "url": run.url,
    }  # fmt: skip


@click.command()
@click.argument("run")
@where
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(run: str, dir: str | None, url: str | None, as_json: bool) -> None:
    """Show one run: RUN is an id, "project/id" or "entity/project/id".

    \b
    Examples:
      tracker show a1b2c3d4
      tracker show digits/a1b2c3d4 --json
    """
    with api(dir, url) as source:
        found = source.run(run)
        details = dict(found.details)
    if as_json:
        output.print_json({**_as_json(found), **details})
        return
    _heading(found)
    exit = details.get("exit") or {}
    if exit.get("reason"):
        click.echo(f"  {'reason':<12}{clean(str(exit['reason']))}")
    if details.get("lost"):
        click.echo(click.style(f"  {'lost':<12}{details['lost']:,} records", fg="yellow"))
    _section("config", _flat(found.config))
    _section("summary", list(found.summary.items()))
    for alert in details.get("alerts") or ():
        click.echo(f"\n{clean(alert['level'])}: {clean(alert['title'])}\n  {clean(alert['text'])}")
    if exit.get("traceback"):
        click.echo(click.style("\ntraceback", bold=True))
        for line in str(exit["traceback"]).rstrip().splitlines():
            click.echo(f"  {clean(line)}")


def _heading(run: Run) -> None:
    click.echo(f"{click.style(clean(run.name), bold=True)}  {output.styled_state(run.state)}")
    known = run.metadata
    git = known.get("git") or {}
    commit = f"{str(git['commit'])[:12]}{' and changes' if git.get('dirty') else ''}" if git.get("commit") else None
    facts = [
        ("path", run.path),
        ("page", run.url),
        ("started", f"{run.created_at} ({output.ago(run._info.created_ns)})"),
        ("took", output.duration(run.duration)),
        ("step", None if run.last_step is None else f"{output.number(run.last_step)} ({run.points:,} points)"),
        ("group", run.group),
        ("job type", run.job_type),
        ("tags", ", ".join(run.tags)),
        ("notes", run.notes),
        ("host", run.host),
        ("gpu", known.get("gpu")),
        ("commit", f"{commit} on {git['branch']}" if commit and git.get("branch") else commit),
        ("command", " ".join(map(str, known.get("command") or ()))),
    ]
    for name, value in facts:
        if value:
            click.echo(f"  {name:<12}{clean(str(value))}")


def _section(title: str, items: list[tuple[str, Any]]) -> None:
    if not items:
        return
    click.echo(click.style(f"\n{title}", bold=True))
    names = [f"  {name}" for name, _ in items]
    lines = output.table(
        [Column("", names, least=20), Column("", [output.number(value) for _, value in items], least=20)],
        limit=output.width(),
    )
    for line in lines[1:]:
        click.echo(line)


def _flat(config: dict[str, Any]) -> list[tuple[str, Any]]:
    from ..journal.block import flatten

    return list(flatten(config))


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--undo", is_flag=True, help="Take them out of the trash again.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@where
def rm(runs: tuple[str, ...], undo: bool, yes: bool, dir: str | None, url: str | None) -> None:
    """Move runs to the trash; --undo brings them back.

    \b
    Examples:
      tracker rm digits/a1b2c3d4
      tracker rm digits/a1b2c3d4 --undo
      tracker ls --trash
    """
    with api(dir, url) as source:
        found, unknown = [], []
        for name in runs:
            try:
                found.append(_in_trash(source, name) if undo else source.run(name))
            except UsageError as error:
                unknown.append(error)
        if unknown:
            raise TrackerError("\n".join(str(error) for error in unknown))
        if not undo and not yes and len(found) > 1 and output.is_terminal():
            for run in found:
                click.echo(f"  {run.path}  {clean(run.name)}")
            click.confirm(f"Move these {len(found)} runs to the trash?", abort=True)
        for run in found:
            if undo:
                run.restore()
                click.echo(f"{run.path} is back.")
            else:
                run.delete()
                click.echo(f"{run.path} is in the trash. Take it back with: tracker rm {run.path} --undo")


def _in_trash(source: Api, name: str) -> Run:
    for run in source.runs(trash=True, per_page=1000):
        if run.path == name or f"{run.project}/{run.id}" == name or run.id == name:
            return run
    raise UsageError(f"there is no run {name!r} in the trash of {source.source}; `tracker ls --trash` shows what is.")
