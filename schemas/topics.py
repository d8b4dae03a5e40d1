"""The names of the topics, each defined once."""

from __future__ import annotations

CHANGELOG = "customers-changelog"

ALERTS, OFFERS, EXAMPLES, MODELS = "alerts", "offers", "training.examples", "models"

OUTCOMES, DEAD_LETTERS = "offer.outcomes", "dead-letters"

LAYOUTS = "layouts"

FORECASTS, DEPARTURES, RECOMMENDATIONS = "forecasts", "forecast.alerts", "recommendations"

ANALYST_CHANGELOG = "analyst-changelog"

SOCIAL, MESSAGES, CORRECTIONS = "social.events", "social.messages", "message.corrections"
