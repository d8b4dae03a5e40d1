"""Every topic there is, once."""

from __future__ import annotations

from streams.topics import TopicSpec

CHANGELOG = "customers-changelog"
ALERTS, OFFERS, EXAMPLES, MODELS = "alerts", "offers", "training.examples", "models"
OUTCOMES, DEAD_LETTERS = "offer.outcomes", "dead-letters"
LAYOUTS = "layouts"
SOCIAL, MESSAGES, CORRECTIONS = "social.events", "social.messages", "message.corrections"


def topics(sources: list[str]) -> dict[str, TopicSpec]:
    """The topics of an installation whose events come from `sources`."""
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
    ]
    return {spec.name: spec for spec in specs}
