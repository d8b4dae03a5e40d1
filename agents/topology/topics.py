"""Declares every topic once."""

from __future__ import annotations

from schemas.topics import (
    ALERTS,
    ANALYST_CHANGELOG,
    CHANGELOG,
    CORRECTIONS,
    DEAD_LETTERS,
    DEPARTURES,
    EXAMPLES,
    FORECASTS,
    LAYOUTS,
    MESSAGES,
    MODELS,
    OFFERS,
    OUTCOMES,
    RECOMMENDATIONS,
)
from streams.kafka import TopicSpec


def topics(sources: list[str]) -> dict[str, TopicSpec]:
    """Return by name the topics of an installation whose events come from `sources`."""
    specs = [
        *(TopicSpec(source) for source in sources),
        TopicSpec(CHANGELOG, compacted=True),
        TopicSpec(ALERTS),
        TopicSpec(OFFERS),
        TopicSpec(EXAMPLES),
        TopicSpec(OUTCOMES),
        TopicSpec(MODELS, compacted=True),
        TopicSpec(LAYOUTS, compacted=True),
        TopicSpec(MESSAGES),
        TopicSpec(CORRECTIONS, kept=True),
        TopicSpec(DEAD_LETTERS),
        TopicSpec(FORECASTS, compacted=True),
        TopicSpec(DEPARTURES),
        TopicSpec(RECOMMENDATIONS, compacted=True),
        TopicSpec(ANALYST_CHANGELOG, compacted=True),
    ]
    return {spec.name: spec for spec in specs}
