"""Commands that list, show, promote and roll back champions and challengers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Kafka, report, settings_with

if TYPE_CHECKING:
    from config.settings import Settings


models = typer.Typer(
    no_args_is_help=True,
    help="List, promote and roll back champions and challengers.\n\nExample: streamwise models list",
)

Model = Annotated[str, typer.Argument(help="The name of a model in models.yaml.")]


@models.command("list")
def list_models(json_: Json = False, kafka: Kafka = None) -> None:
    """List each model's champion and its challengers.

    The list shows the champion's figures and how each challenger compares.

    Example: streamwise models list --json
    """
    from operations.models import list_lines, list_models

    report(list_models(_reached(kafka)), json_, list_lines)


@models.command("show")
def show_model(model: Model, json_: Json = False, kafka: Kafka = None) -> None:
    """Show one model and its changes of champion.

    Each recorded change comes with its evidence.

    Example: streamwise models show purchase
    """
    from operations.models import show_lines, show_model

    report(show_model(_reached(kafka), model), json_, show_lines)


@models.command("promote")
def promote_model(
    model: Model,
    challenger: Annotated[str, typer.Argument(help="The challenger that scores from now on.")],
    json_: Json = False,
    kafka: Kafka = None,
) -> None:
    """Make a challenger the champion now.

    This does not wait for the evidence.

    Example: streamwise models promote purchase quick
    """
    from operations.models import change_champion, show_lines

    report(change_champion(_reached(kafka), model, challenger), json_, show_lines)


@models.command("rollback")
def roll_back_model(model: Model, json_: Json = False, kafka: Kafka = None) -> None:
    """Undo the latest change of champion.

    The former champion scores again.

    Example: streamwise models rollback purchase
    """
    from operations.models import change_champion, show_lines

    report(change_champion(_reached(kafka), model, None), json_, show_lines)


def _reached(kafka: str | None) -> Settings:
    from streams.kafka import reach

    settings = settings_with(kafka=kafka)
    reach(settings.access)
    return settings
