"""Every topic there is, once."""

from __future__ import annotations

from streams.kafka.topic_admin import TopicSpec

CHANGELOG = "customers-changelog"
ALERTS, OFFERS, EXAMPLES, MODELS = "alerts", "offers", "training.examples", "models"
OUTCOMES, DEAD_LETTERS = "offer.outcomes", "dead-letters"
LAYOUTS = "layouts"
FORECASTS, DEPARTURES, RECOMMENDATIONS = "forecasts", "forecast.alerts", "recommendations"
ANALYST_CHANGELOG = "analyst-changelog"
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
        TopicSpec(FORECASTS, compacted=True),
        TopicSpec(DEPARTURES),
        TopicSpec(RECOMMENDATIONS, compacted=True),
        TopicSpec(ANALYST_CHANGELOG, compacted=True),
    ]
    return {spec.name: spec for spec in specs}
