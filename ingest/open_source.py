"""Opens a source of events by name: a built-in data set, or a file with a mapping."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streams.errors import ConfigError, Fatal

if TYPE_CHECKING:
    from .source import EventSource

BUILT_IN = ("complete-journey", "cdnow")


def source(
    name_or_path: str | Path, mapping: str | Path | None = None, phrases: Path | None = None
) -> EventSource:
    """Open the built-in source of that name, or a CSV, Parquet or JSON-lines file with its `mapping`.

    `phrases`: the file of phrases that finds the sentiment and topics of message texts.

    Raises ConfigError (the name, the file or the mapping is wrong) or Fatal (a package is missing).
    """
    name = str(name_or_path)
    try:
        if name == "cdnow":
            from ingest.datasets import Cdnow

            return Cdnow()
        if name in BUILT_IN:
            from ingest.datasets import CompleteJourney

            return CompleteJourney()
        if not Path(name).is_file():
            raise ConfigError(
                name, None, f"neither a file nor a built-in source; built in: {', '.join(BUILT_IN)}"
            )
        if mapping is None:
            raise ConfigError(name, None, "a file needs a mapping: --mapping FILE.yaml")
        from ingest.files import FileSource

        return FileSource(name, mapping, phrases)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        extra = "messages" if package in ("vaderSentiment", "jionlp") else "replay"
        raise Fatal(f"{name} needs the package {package}; pip install 'streamwise[{extra}]'") from error
