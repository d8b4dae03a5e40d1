"""Checks before any role starts: the config is valid, a broker answers, the topics exist."""

from __future__ import annotations

from agents.topology import permissions, topics
from config.settings import Settings
from pipeline.config import load_config
from streams.kafka import PATIENCE_S, check, ensure, existing, reach


def prepare(
    settings: Settings, role: str = "", *, patience_s: float = PATIENCE_S, create: bool = True
) -> dict[str, str]:
    """Wait for the broker, check the role's permissions, create the missing topics and check the others.

    Returns by topic what was done with it.
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
    """Wait for the broker. Raises `Fatal` if it refuses the connection or a permission that the role needs."""
    reach(settings.access, patience_s)
    if role and settings.kafka_security != "plaintext":
        existing(settings.access)
        check(settings.access, permissions(role, sources))


def source_topics(settings: Settings) -> list[str]:
    """Return the topics that events come from. Raises `ConfigError` for a mistake in any config file."""
    return [source.topic for source in load_config(settings.config).features.sources]
