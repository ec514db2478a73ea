"""`tracker registry`: collections that link versions of any project, and the stages they go through."""

from __future__ import annotations

import click

from ..errors import UsageError
from . import output
from .artifact import _plain, print_events
from .output import Column
from .runs import api, where


@click.group()
def registry() -> None:
    """List registries, move stages, and see who moved what.

    \b
    Examples:
      tracker registry ls
      tracker registry promote model/classifier:v2 production
      tracker registry history model/classifier
    """


@registry.command("ls")
@click.argument("place", required=False)
@where
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(place: str | None, dir: str | None, url: str | None, as_json: bool) -> None:
    """List registries, the collections of one, or the versions of a collection ("model/classifier").

    \b
    Examples:
      tracker registry ls
      tracker registry ls model
      tracker registry ls model/classifier
    """
    from ..artifacts.registry import target
    from ..artifacts.version import REGISTRY

    with api(dir, url) as source:
        if place and "/" in place:
            name, collection = target(place)
            versions = [each._settled("ls") for each in source.registry(name).collection(collection).versions()]
            if as_json:
                output.print_json([_plain(version) for version in versions])
                return
            output.print_table(
                [
                    Column("VERSION", [f"v{version.version}" for version in versions], least=3),
                    Column("ALIASES", [", ".join(version.aliases) for version in versions]),
                    Column("LINKS", [str(version.source) for version in versions]),
                    Column("LINKED", [output.ago(version.created_ns) for version in versions], least=11),
                    Column("BY", [version.user or "-" for version in versions]),
                ]
            )
            return
        found = source._place.catalogue.collections(REGISTRY, place)
        if as_json:
            output.print_json([_plain(each) for each in found])
            return
        if not found:
            what = f"the registry {place!r} is empty" if place else "there are no registries"
            click.echo(f"{what} in {source.source}. Begin one with: tracker artifact link NAME model/COLLECTION")
            return
        output.print_table(
            [
                Column("COLLECTION", [f"{each.project}/{each.name}" for each in found]),
                Column("TYPE", [each.type for each in found], least=4),
                Column("VERSIONS", [f"{each.versions:,}" for each in found], True, least=3),
                Column(
                    "STAGES",
                    [", ".join(f"{alias} v{number}" for alias, number in each.aliases.items()) for each in found],
                ),
            ]
        )


@registry.command()
@click.argument("version")
@click.argument("aliases", nargs=-1, required=True, metavar="ALIAS...")
@where
def promote(version: str, aliases: tuple[str, ...], dir: str | None, url: str | None) -> None:
    """Move stages to a version of a collection; whoever had them has them no more.

    VERSION is "registry/collection:v2", or an alias instead of the number.

    \b
    Examples:
      tracker registry promote model/classifier:v2 production
      tracker registry promote model/classifier:staging production
    """
    from ..artifacts.version import Actor

    with api(dir, url) as source:
        found = source.artifact(_full(version))._settled("promote")
        catalogue = source._place.catalogue
        before = catalogue.collection(found.entity, found.project, found.name)
        for alias in aliases:
            catalogue.alias(found, alias, Actor.here())
            held = before.aliases.get(alias) if before is not None else None
            was = f" (was v{held})" if held not in (None, found.version) else ""
            click.echo(f"{alias} is {found.project}/{found.name}:v{found.version}{was}: {found.source}")


@registry.command()
@click.argument("collection")
@where
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def history(collection: str, dir: str | None, url: str | None, as_json: bool) -> None:
    """Show what happened to a collection: which versions came, which stages moved, who did it and when.

    \b
    Examples:
      tracker registry history model/classifier
    """
    from ..artifacts.registry import target

    with api(dir, url) as source:
        name, own = target(collection)
        events = source.registry(name).collection(own).history()
    if as_json:
        output.print_json([_plain(event) for event in events])
        return
    print_events(events)


@registry.command()
@click.argument("version")
@where
def unlink(version: str, dir: str | None, url: str | None) -> None:
    """Take a version out of a collection; where it was logged it stays.

    \b
    Examples:
      tracker registry unlink model/classifier:v0
    """
    with api(dir, url) as source:
        found = source.artifact(_full(version))
        found.unlink()
        click.echo(f"{found.source_qualified_name} is not in {version.partition(':')[0]} any more.")


def _full(version: str) -> str:
    if ":" not in version:
        raise UsageError(f"{version!r} does not say which version; write {version}:v0, or an alias.")
    from ..artifacts.registry import target

    place, _, which = version.rpartition(":")
    name, collection = target(place)
    return f".registry/{name}/{collection}:{which}"
