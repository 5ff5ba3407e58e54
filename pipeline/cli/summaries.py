"""Help that lists commands with their whole first sentence."""

from typing import Any

from typer.core import TyperGroup


class WholeSummaries(TyperGroup):
    """Wraps the summaries that click would cut at the end of their line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # of click, or of typer's own
        summaries = [
            (name, command.get_short_help_str(limit=1000))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None
        ]
        with formatter.section("Commands"):
            formatter.write_dl(summaries)
