"""The command that runs benchmarks."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.errors import ConfigError, Fatal

from .app import app
from .options import Json

BENCHES = ("engine", "product", "latency", "scale", "workers", "failover", "soak", "idle", "faults", "models")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help=f"One of {', '.join(BENCHES)}. Options of the benchmark follow it.")
    ],
    json_: Json = False,
) -> None:
    """Run a benchmark, such as engine or latency.

    The last line of its output is always JSON.

    Example: streamwise bench engine --scale 0.1
    """
    from importlib import import_module

    if name not in BENCHES:
        raise ConfigError("bench", None, f"expected one of {', '.join(BENCHES)}, got {name!r}")
    from bench.servers import end_on_sigterm

    end_on_sigterm()
    try:
        status = import_module(f"bench.{name}").main(context.args)
    except RuntimeError as error:  # a bench raises this when it cannot go on
        if type(error) is not RuntimeError:
            raise
        raise Fatal(f"the bench {name} could not be carried out: {error}") from error
    raise typer.Exit(status)
