"""What comes before any role: the config is right, a broker answers, the topics are there."""

from __future__ import annotations

from config.settings import Settings
from decisions.live import load_config
from streams.topics import ensure

from .broker import PATIENCE_S, reach
from .topics import topics


def prepare(settings: Settings, *, patience_s: float = PATIENCE_S, create: bool = True) -> dict[str, str]:
    """Wait for the broker, then create the missing topics and check the others; what was done with each."""
    sources = source_topics(settings)
    reach(settings.kafka, patience_s)
    return ensure(
        settings.kafka,
        topics(sources),
        partitions=settings.partitions,
        replication=settings.replication,
        create=create,
    )


def source_topics(settings: Settings) -> list[str]:
    """The topics that events come from. Raises `ConfigError` for anything wrong in any of the config files."""
    return [source.topic for source in load_config(settings.config).features.sources]
