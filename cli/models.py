"""Commands about champions and challengers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Kafka, report, settings_with

if TYPE_CHECKING:
    from config.settings import Settings


models = typer.Typer(
    no_args_is_help=True,
    help="Champions and challengers: who leads, by what evidence; change it by hand.\n\n"
    "Example: streamwise models list",
)

Model = Annotated[str, typer.Argument(help="A model of models.yaml.")]


@models.command("list")
def list_models(json_: Json = False, kafka: Kafka = None) -> None:
    """Each model's champion, its figures, and how its challengers stand.

    Example: streamwise models list --json
    """
    from operations.models import list_lines, list_models

    report(list_models(_reached(kafka)), json_, list_lines)


@models.command("show")
def show_model(model: Model, json_: Json = False, kafka: Kafka = None) -> None:
    """One of them with every recorded change of champion and its evidence.

    Example: streamwise models show purchase
    """
    from operations.models import show_lines, show_model

    report(show_model(_reached(kafka), model), json_, show_lines)


@models.command("promote")
def promote_model(
    model: Model,
    challenger: Annotated[str, typer.Argument(help="The one that is to score from now on.")],
    json_: Json = False,
    kafka: Kafka = None,
) -> None:
    """Make a challenger the champion without waiting for the evidence.

    Example: streamwise models promote purchase quick
    """
    from operations.models import change_champion, show_lines

    report(change_champion(_reached(kafka), model, challenger), json_, show_lines)


@models.command("rollback")
def roll_back_model(model: Model, json_: Json = False, kafka: Kafka = None) -> None:
    """Make the champion before the latest change the champion again.

    Example: streamwise models rollback purchase
    """
    from operations.models import change_champion, show_lines

    report(change_champion(_reached(kafka), model, None), json_, show_lines)


def _reached(kafka: str | None) -> Settings:
    from streams.kafka import reach

    settings = settings_with(kafka=kafka)
    reach(settings.access)
    return settings
