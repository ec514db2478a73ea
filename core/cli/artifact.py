"""`tracker artifact`: versions listed, put, brought, compared, named, checked and removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import TrackerError, UsageError
from . import output
from .output import Column, clean
from .runs import api, where

if TYPE_CHECKING:
    from ..artifacts.artifact import Artifact
    from ..artifacts.version import Event, Version
    from ..query import Api

_LARGE_BYTES = 100 << 20  # takes long enough to say so
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def artifact() -> None:
    """List, put, bring and compare the versions of artifacts.

    NAME is "name:v3", "name:alias" or "name:digest", with "project/" or "entity/project/" before it; without a version
    it is the latest one. "wandb-registry-model/name:production" is a version of a registry.

    \b
    Examples:
      tracker artifact put data/ --name digits/images --type dataset
      tracker artifact ls digits
      tracker artifact get digits/images:v0
    """


@artifact.command("ls")
@click.argument("place", required=False)
@click.option("--type", "type_name", metavar="TYPE", help="Only artifacts of this type.")
@where
@_JSON
def ls(place: str | None, type_name: str | None, dir: str | None, url: str | None, as_json: bool) -> None:
    """List artifacts, the versions of one, or the files of a version.

    PLACE is a project ("digits", "entity/digits"), an artifact ("digits/images") or a version ("digits/images:v0").

    \b
    Examples:
      tracker artifact ls
      tracker artifact ls digits --type model
      tracker artifact ls digits/images
      tracker artifact ls digits/images:v0
    """
    with api(dir, url) as source:
        if place and (":" in place or "@" in place):
            _files(source.artifact(place), as_json)
            return
        if place and "/" in place and source.artifact_collection_exists(place):
            _versions(source, place, as_json)
            return
        _collections(source, place, type_name, as_json)


def _collections(source: Api, place: str | None, type_name: str | None, as_json: bool) -> None:
    parts = [part for part in (place or "").split("/") if part]
    if len(parts) > 2:
        raise UsageError(f"there is no artifact {place!r} in {source.source}.")
    entity = parts[0] if len(parts) == 2 else source.default_entity
    found = source._place.catalogue.collections(entity, parts[-1] if parts else None, type_name)
    if as_json:
        output.print_json([_plain(each) for each in found])
        return
    if not found:
        click.echo(f"no artifacts{f' in {place}' if place else ''} in {source.source}.")
        return
    output.print_table(
        [
            Column("ARTIFACT", [each.path.removeprefix("local/") for each in found]),
            Column("TYPE", [each.type for each in found], least=4),
            Column("VERSIONS", [f"{each.versions:,}" for each in found], True, least=3),
            Column("LATEST", [f"v{each.latest}" if each.latest is not None else "-" for each in found], least=3),
            Column("SIZE", [output.size(each.size) for each in found], True, least=7),
            Column("UPDATED", [output.ago(each.updated_ns) for each in found], least=11),
        ]
    )


def _versions(source: Api, name: str, as_json: bool) -> None:
    found = source.artifacts(None, name)
    versions = [one._settled("ls") for one in found]
    if as_json:
        output.print_json([_plain(version) for version in versions])
        return
    output.print_table(
        [
            Column("VERSION", [f"v{version.version}" for version in versions], least=3),
            Column("ALIASES", [", ".join(version.aliases) for version in versions]),
            Column("TAGS", [", ".join(version.tags) for version in versions], least=4),
            Column("FILES", [f"{version.files:,}" for version in versions], True, least=3),
            Column("SIZE", [output.size(version.size) for version in versions], True, least=7),
            Column("LOGGED", [output.ago(version.created_ns) for version in versions], least=11),
            Column("BY", [version.run or version.source or version.user or "-" for version in versions]),
            Column("DIGEST", [version.digest[:12] for version in versions], least=12),
        ]
    )


def _files(found: Artifact, as_json: bool) -> None:
    files = found.files()
    if as_json:
        output.print_json([{"path": f.path, "size": f.size, "digest": f.digest, "reference": f.ref} for f in files])
        return
    output.print_table(
        [
            Column("PATH", [file.path for file in files]),
            Column("SIZE", [output.size(file.size) for file in files], True, least=7),
            Column("DIGEST", [file.ref or file.digest[:12] for file in files], least=12),
        ]
    )


@artifact.command()
@click.argument("name")
@where
@_JSON
def show(name: str, dir: str | None, url: str | None, as_json: bool) -> None:
    """Show one version: what it is, who made and who ever read it, and what happened to its aliases.

    \b
    Examples:
      tracker artifact show digits/images:latest
    """
    with api(dir, url) as source:
        found = source.artifact(name)
        version = found._settled("show")
        catalogue = source._place.catalogue
        uses, makers = catalogue.uses(version), catalogue.made_by(version)
        events = [
            event
            for event in catalogue.history(version.entity, version.project, version.name)
            if version.version in (event.version, event.previous)
        ]
    if as_json:
        facts = {"made_by": makers, "used_by": [_plain(use) for use in uses], "history": [_plain(e) for e in events]}
        output.print_json({**_plain(version), **facts})
        return
    click.echo(click.style(clean(version.path), bold=True))
    ttl = None if version.ttl_days is None else f"{version.ttl_days:g} days"
    for label, value in (
        ("type", version.type), ("aliases", ", ".join(version.aliases)), ("tags", ", ".join(version.tags)),
        ("logged", output.ago(version.created_ns)), ("files", f"{version.files:,} ({output.size(version.size)})"),
        ("digest", version.digest), ("time to live", ttl), ("links to", version.source),
        ("description", version.description), ("metadata", version.metadata or None),
        ("made by", ", ".join(makers)), ("used by", ", ".join(use.run for use in uses)),
    ):  # fmt: skip
        if value:
            click.echo(f"  {label:<13}{clean(str(value))}")
    print_events(events)


def print_events(events: list[Event]) -> None:
    """Print what happened to a collection, who did it and when."""
    if not events:
        return
    click.echo(click.style("\nhistory", bold=True))
    for event in events:
        what = f"v{event.version} {event.action}"
        if event.name:
            what += f" {event.name}"
        if event.previous is not None and event.previous != event.version:
            what += f" (was v{event.previous})"
        by = " on ".join(part for part in (event.user, event.host) if part)
        run = f", run {event.run}" if event.run else ""
        click.echo(f"  {output.ago(event.time_ns):<16}{clean(what)}  {clean(by + run)}")


@artifact.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--name", "-n", required=True, metavar="[PROJECT/]NAME", help="What it is to be called.")
@click.option("--type", "-t", "type_name", default="dataset", show_default=True, help="What it is.")
@click.option("--description", "-d", help="Free text.")
@click.option("--alias", "-a", "aliases", multiple=True, help="A name for this version; may be repeated.")
@click.option("--tag", "tags", multiple=True, help="A label of this version; may be repeated.")
@click.option("--metadata", metavar="JSON", help="Facts of your own: a JSON object.")
@click.option("--ttl", "days", type=float, metavar="DAYS", help="`tracker gc` may remove it after so many days.")
@click.option("--dir", metavar="FOLDER", help="The folder that keeps the runs.")
@_JSON
def put(
    path: Path,
    name: str,
    type_name: str,
    description: str | None,
    aliases: tuple[str, ...],
    tags: tuple[str, ...],
    metadata: str | None,
    days: float | None,
    dir: str | None,
    as_json: bool,
) -> None:
    """Log a file or a folder as an artifact, by a run made for it.

    \b
    Examples:
      tracker artifact put data/ --name digits/images
      tracker artifact put net.pt -n digits/net -t model -a best
    """
    import datetime

    from ..artifacts.artifact import Artifact
    from ..init import init

    *home, own = name.split("/")
    if len(home) > 2:
        raise UsageError(f"{name!r} names no artifact; write 'name', 'project/name' or 'entity/project/name'.")
    made = Artifact(own, type_name, description, _metadata(metadata))
    if days is not None:
        made.ttl = datetime.timedelta(days=days)
    entity = home[0] if len(home) == 2 else None
    project = home[-1] if home else None
    with init(entity=entity, project=project, dir=dir, job_type="put", settings={"silent": True}) as run:
        if path.is_dir():
            made.add_dir(path)
        else:
            made.add_file(path)
        run.log_artifact(made, aliases=list(aliases), tags=list(tags))
        if output.is_terminal() and made.size > _LARGE_BYTES:
            click.echo(f"storing {output.size(made.size)} ...", err=True)
        made.wait()
    version = made._settled("put")
    if as_json:
        output.print_json(_plain(version))
    else:
        click.echo(
            f"{version.path}: {version.files:,} files, {output.size(version.size)}, digest {version.digest[:12]}."
        )


def _metadata(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no JSON ({error}).", param_hint="--metadata") from None
    if not isinstance(found, dict):
        raise click.BadParameter("it must be a JSON object: '{\"rows\": 10}'.", param_hint="--metadata")
    return found


@artifact.command()
@click.argument("name")
@click.option("--root", metavar="FOLDER", help="Where to; by default ./artifacts/NAME:vN, or in TRACKER_ARTIFACT_DIR.")
@click.option("--type", "type_name", help="What it must be.")
@click.option("--path", "prefix", metavar="PATH", help="Only this file, or what is below this folder.")
@click.option("--exact", is_flag=True, help="Remove from the folder what is not of this version.")
@where
def get(
    name: str,
    root: str | None,
    type_name: str | None,
    prefix: str | None,
    exact: bool,
    dir: str | None,
    url: str | None,
) -> None:
    """Bring the files of a version; those that are there and the same are left alone. Prints the folder.

    \b
    Examples:
      tracker artifact get digits/images:v0
      tracker artifact get wandb-registry-model/net:production --root /srv/model
    """
    if exact and prefix:
        raise click.UsageError("--exact and --path cannot both be given: the one removes what the other leaves out.")
    with api(dir, url) as source:
        found = source.artifact(name, type_name)
        click.echo(found.checkout(root) if exact else found.download(root, path_prefix=prefix))


@artifact.command()
@click.argument("one")
@click.argument("other")
@where
@_JSON
def diff(one: str, other: str, dir: str | None, url: str | None, as_json: bool) -> None:
    """Compare two versions: what OTHER has more, else and less than ONE.

    \b
    Examples:
      tracker artifact diff digits/images:v0 digits/images:latest
    """
    with api(dir, url) as source:
        first, second = source.artifact(one), source.artifact(other)
        found = first.manifest.diff(second.manifest)
        sizes = {path: entry.size for each in (first, second) for path, entry in each.manifest.entries.items()}
    if as_json:
        output.print_json(found._asdict())
        return
    for sign, color, paths in (
        ("+", "green", found.added),
        ("~", "yellow", found.changed),
        ("-", "red", found.removed),
    ):
        for path in paths:
            click.echo(click.style(f"{sign} {clean(path)}", fg=color) + f"  {output.size(sizes[path])}")
    counts = f"{len(found.added):,} added, {len(found.changed):,} changed, {len(found.removed):,} removed"
    click.echo(counts if any(found) else "they hold the same files.")


@artifact.command()
@click.argument("name")
@click.argument("aliases", nargs=-1, required=True, metavar="ALIAS...")
@click.option("--remove", is_flag=True, help="Take the aliases away instead.")
@where
def alias(name: str, aliases: tuple[str, ...], remove: bool, dir: str | None, url: str | None) -> None:
    """Let aliases point at a version; whatever had them before has them no more.

    A version with the alias "revoked" cannot be used by runs any more; any number of versions may have it.

    \b
    Examples:
      tracker artifact alias digits/net:v3 best
      tracker artifact alias digits/net:v3 revoked
      tracker artifact alias digits/net:v3 best --remove
    """
    from ..artifacts.version import Actor

    with api(dir, url) as source:
        version = source.artifact(name)._settled("alias")
        catalogue = source._place.catalogue
        for each in aliases:
            if remove:
                catalogue.unalias(version, each, Actor.here())
            else:
                catalogue.alias(version, each, Actor.here())
        now = source.artifact(f"{version.entity}/{version.project}/{version.name}:v{version.version}")
    click.echo(f"{version.path} is called {', '.join(now.aliases) or 'nothing else'}.")


@artifact.command()
@click.argument("name")
@click.argument("target")
@click.option("--alias", "-a", "aliases", multiple=True, help="What it is called there; may be repeated.")
@where
def link(name: str, target: str, aliases: tuple[str, ...], dir: str | None, url: str | None) -> None:
    """Link a version into a registry; TARGET is "registry/collection".

    \b
    Examples:
      tracker artifact link digits/net:best model/classifier -a staging
    """
    with api(dir, url) as source:
        linked = source.artifact(name).link(target, list(aliases))
        version = linked._settled("link")
    click.echo(f"{version.path} links {version.source}; it is called {', '.join(version.aliases) or 'nothing else'}.")


@artifact.command()
@click.argument("name")
@click.argument("folder", required=False)
@where
def verify(name: str, folder: str | None, dir: str | None, url: str | None) -> None:
    """Check that a folder holds what a version holds; by default the one that `get` writes to.

    The exit code is 1 where it does not.

    \b
    Examples:
      tracker artifact verify digits/images:v0
      tracker artifact verify digits/images:v0 ./data
    """
    with api(dir, url) as source:
        found = source.artifact(name)
        found.verify(folder)
        click.echo(f"the folder holds {found.qualified_name}: {found.file_count:,} files.")


@artifact.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--delete-aliases", is_flag=True, help="Also versions that aliases other than latest point at.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@where
def rm(names: tuple[str, ...], delete_aliases: bool, yes: bool, dir: str | None, url: str | None) -> None:
    """Delete versions, for good; their bytes go with the next `tracker gc`. NAME must say which version.

    \b
    Examples:
      tracker artifact rm digits/images:v0
    """
    with api(dir, url) as source:
        found, unknown = [], []
        for name in names:
            if ":" not in name and "@" not in name:
                raise UsageError(f"{name!r} does not say which version; write {name}:v0.")
            try:
                found.append(source.artifact(name))
            except UsageError as error:
                unknown.append(error)
        if unknown:
            raise TrackerError("\n".join(str(error) for error in unknown))
        if not yes and output.is_terminal():
            for each in found:
                click.echo(f"  {each.qualified_name}  {', '.join(each.aliases)}")
            click.confirm(
                f"Delete {'this version' if len(found) == 1 else f'these {len(found)} versions'}?", abort=True
            )
        for each in found:
            each.delete(delete_aliases)
            click.echo(f"{each.qualified_name} is deleted. Its bytes go with: tracker gc")


def _plain(found: Version | Any) -> dict[str, Any]:
    import msgspec

    facts: dict[str, Any] = {name: getattr(found, name) for name in type(found).__struct_fields__}
    facts = {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}
    if isinstance(found, msgspec.Struct) and hasattr(found, "path"):
        facts["path"] = found.path
    facts.pop("token", None)
    return facts
