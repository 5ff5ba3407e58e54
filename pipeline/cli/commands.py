"""Groups and commands of ours: the options that all of them have, before the command or after it.

``pipeline --log-format json ingest`` and ``pipeline ingest --log-format json`` are the same: the
options that stand on the root are those of every command, and one that is given later wins.
"""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import typer
from typer.core import TyperCommand

from pipeline.cli.output import setup_logging, speaks_json, wrong
from pipeline.cli.summaries import WholeSummaries

# Of the root's options, those that every command has as well.
SHARED = ("log_format", "log_level", "quiet", "verbose")


class _Shares:
    """A command, or a group of them, that takes the root's options too."""

    def get_params(self, ctx: Any) -> list[Any]:  # of click, or of typer's own
        own: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        root = ctx.find_root()
        if ctx is root:
            return own
        return [*own, *(option for option in root.command.params if option.name in SHARED)]

    def invoke(self, ctx: Any) -> Any:
        root = ctx.find_root()
        if ctx is not root:
            values = {name: ctx.params.pop(name) for name in SHARED if name in ctx.params}
            given = {name: value for name, value in values.items() if _is_typed(ctx, name)}
            if given:
                listen(root.params | given, given)
        return super().invoke(ctx)  # type: ignore[misc]


class Command(_Shares, TyperCommand):
    """One command."""


class Group(_Shares, WholeSummaries):
    """Commands under one name."""

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our output has seen enough. Python would complain again at its end, and
            # typer would call it a failure.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit from None


class CommandLine(typer.Typer):
    """A group of commands, ours throughout: its commands have the options that all have."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            no_args_is_help=True,
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
            **{"cls": Group, "add_completion": False, **options},
        )

    def command(  # type: ignore[override]
        self, name: str | None = None, **options: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return super().command(name, **{"cls": Command, **options})


def listen(values: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """Set up what goes to stderr.

    Args:
        values: of the shared options.
        typed: those of them that the person has typed here, which win over the environment's.
    """
    if values["quiet"] and values["verbose"]:
        wrong("--quiet", "it cannot be with --verbose")
    level, log_format = str(values["log_level"]), str(values["log_format"])
    if "log_level" not in typed:
        level = _level(level, quiet=values["quiet"], verbose=values["verbose"])
    if "log_format" not in typed and speaks_json():
        log_format = "json"  # so it was asked for, after the command
    setup_logging(log_format, level, quiet=values["quiet"])


def typed_of(ctx: Any) -> dict[str, Any]:
    """The shared options that were typed with this command or group, by name."""
    return {name: ctx.params[name] for name in SHARED if _is_typed(ctx, name)}


def _is_typed(ctx: Any, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _level(level: str, *, quiet: bool, verbose: int) -> str:
    if quiet:
        return "error"
    return {0: level, 1: "info"}.get(verbose, "debug")
