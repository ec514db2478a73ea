"""The `tracker` command itself: its verbs by name, and what an error becomes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

# verb -> where it lives, and its line in `tracker --help`, so that the help imports none of them
VERBS = {
    "demo": ("demo", "Train a small model and watch it live in the dashboard."),
    "run": ("run", "Run a program, and log its trainings with no word of tracker in it."),
    "ui": ("serve", "Show the runs of this machine in the browser."),
    "server": ("serve", "Serve runs to a team; manage its API keys."),
    "sync": ("sync", "Send runs that were written offline to the server."),
    "ls": ("runs", "List runs, or projects."),
    "show": ("runs", "Show one run: config, summary, how it ended."),
    "logs": ("logs", "Print what a run printed, also while it goes on."),
    "restore": ("restore", "Make a run's folder again, and tell the command that runs it."),
    "diff": ("diff", "Compare two runs: config, code, packages, machine, summary."),
    "export": ("export", "Write runs or their history as CSV, Parquet or JSON."),
    "rm": ("runs", "Move runs to the trash, or back."),
    "artifact": ("artifact", "List, put, bring and compare the versions of artifacts."),
    "registry": ("registry", "List registries, move stages, see who moved what."),
    "gc": ("gc", "Remove what no version of an artifact needs any more."),
    "status": ("status", "Show every setting, its value, and where it comes from."),
    "doctor": ("doctor", "Check that tracker can work here, and say how to mend what cannot."),
}


class Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Answer the verbs, in the order of a first day."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import one verb."""
        if name not in VERBS:
            return None
        command: click.Command = getattr(import_module(f".{VERBS[name][0]}", __package__), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the verb; for one that is not there, name the nearest."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS, 1)
            hint = f" Did you mean `tracker {near[0]}`?" if near else " `tracker --help` shows what there is."
            raise click.UsageError(f"there is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


def _version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from tracker import __version__

        click.echo(f"tracker {__version__}")
        ctx.exit()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version.")
def tracker() -> None:
    """Track experiments on your own machine.

    \b
    Examples:
      tracker demo              train something, and see it
      tracker ui                open the dashboard
      tracker ls                list the runs
      tracker show a1b2c3d4     look at one
      tracker export digits -o runs.csv
    """


def run(arguments: list[str] | None = None) -> None:
    """Run the command and end the process."""
    from ..errors import TrackerError

    color = False if os.environ.get("NO_COLOR") else None
    try:
        code = tracker.main(arguments, prog_name="tracker", standalone_mode=False, color=color)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.Abort:
        click.echo("stopped.", err=True)
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `tracker ls | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (TrackerError, OSError) as error:
        click.echo(f"{click.style('error:', fg='red')} {error}", err=True, color=color)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
