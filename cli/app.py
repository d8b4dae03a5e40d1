"""The Typer application. Every file of commands adds its own commands to it."""

from __future__ import annotations

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Process customer events as they arrive: live offers, churn alerts and models that learn online.",
)
