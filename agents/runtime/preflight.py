"""What comes before any role: the config is right, a broker answers, the topics are there."""

from __future__ import annotations

from agents.topology import permissions, topics
from config.settings import Settings
from pipeline.config import load_config
from streams.kafka import PATIENCE_S, check, ensure, existing, reach


def prepare(
    settings: Settings, role: str = "", *, patience_s: float = PATIENCE_S, create: bool = True
) -> dict[str, str]:
    """Wait for the broker, check what the role may do there, then create the missing topics and check the others.

    Returns what was done with each topic.
    """
    sources = source_topics(settings)
    enter(settings, role, sources, patience_s)
    return ensure(
        settings.access,
        topics(sources),
        partitions=settings.partitions,
        replication=settings.replication,
        create=create,
    )


def enter(settings: Settings, role: str, sources: list[str], patience_s: float = 0.0) -> None:
    """Wait for the broker. Raises `Fatal` when it refuses us, or does not allow what the role needs."""
    reach(settings.access, patience_s)
    if role and settings.kafka_security != "plaintext":
        existing(settings.access)
        check(settings.access, permissions(role, sources))


def source_topics(settings: Settings) -> list[str]:
    """The topics that events come from. Raises `ConfigError` for anything wrong in any of the config files."""
    return [source.topic for source in load_config(settings.config).features.sources]
