"""The config of the installation under faults: its own columns, model and policies.

No policy uses a score, as scores depend on when the learner learned what, which differs between runs. `ORDER_FREE`
columns and policies give the same result for any order of a customer's events. For customers whose events come late
or from several topics, only these are compared (docs/steps/04-resolve.md, "Order").
"""

from __future__ import annotations

from pathlib import Path

ORDER_FREE = (
    "web_count", "social_count", "order_count", "web_value", "spend", "discounts", "largest", "smallest",
    "last_visit", "first_visit", "last_order", "first_order", "categories",
)  # fmt: skip
ORDER_FREE_POLICIES = ("large-order", "unhappy")
COUNTS = ("web_count", "social_count", "order_count")  # an event counts in exactly one of them
MESSAGE_IDS = 32  # a duplicate follows its original within fewer of its customer's events

FEATURES = f"""\
lateness: 5m
idle_after: 60s
message_ids: {MESSAGE_IDS}
sources:
  - {{topic: web.events, schema: web_event}}
  - {{topic: social.events, schema: social_event}}
  - {{topic: sales.events, schema: sales_event}}
fields:
  value: {{web.events: value, min: -1e9, max: 1e9}}
  rating: {{social.events: rating, min: 0, max: 10}}
  amount: {{sales.events: amount, min: -1e9, max: 1e9}}
  discount: {{sales.events: discount, min: -1e9, max: 1e9}}
  categories: {{sales.events: "lines[].category", reduce: bits}}
columns:
  web_count: {{kind: count, on: [page, search, view, cart_add, cart_remove, checkout]}}
  social_count: {{kind: count, on: [mention, review, email, ticket, survey]}}
  order_count: {{kind: count, on: [order]}}
  web_value: {{kind: sum, on: [view, cart_add], field: value}}
  spend: {{kind: sum, on: [order], field: amount}}
  discounts: {{kind: sum, on: [order], field: discount}}
  largest: {{kind: maximum, on: [order], field: amount}}
  smallest: {{kind: minimum, on: [order], field: amount}}
  last_visit: {{kind: latest, on: [page, search, view, cart_add, cart_remove, checkout]}}
  first_visit: {{kind: first, on: [page, search, view, cart_add, cart_remove, checkout]}}
  last_order: {{kind: latest, on: [order]}}
  first_order: {{kind: first, on: [order]}}
  categories: {{kind: distinct, on: [order], field: categories}}
  pages: {{kind: decayed, on: [page], half_life: [1h, 1d, 1w]}}
  orders: {{kind: decayed, on: [order], half_life: [1w, 30d]}}
  recent: {{kind: ring, on: [order], field: amount, size: 4}}
  last_amount: {{kind: value, on: [order], field: amount}}
  order_gap: {{kind: gap, on: [order]}}
  sessions: {{kind: session, on: [page, search, view, cart_add, cart_remove, checkout], gap: 30m}}
  cart_open: {{kind: flag, on: [cart_add], clear_on: [cart_remove]}}
  silence: {{kind: deadline, on: [order], after: 40d}}
"""

MODELS = """\
features:
  - {view: order_count}
  - {view: orders_1w}
  - {view: spend}
  - {view: last_amount}
  - {view: web_count}
models:
  purchase: {open: [order], proof: [order], within: 40d, positive: proof}
"""

POLICIES = """\
policies:
  large-order: {kind: offer, on: [order], when: event.amount >= 60, cooldown: 1s, message: Thank you.}
  unhappy: {kind: alert, on: [review, ticket, survey], when: event.rating <= 3, cooldown: 1s, message: Answer.}
  tenth: {kind: offer, on: [page, search, view], when: sessions >= 10, cooldown: 20d, message: Welcome back.}
  full-cart: {kind: alert, on: [cart_add], when: cart_open = 1 AND web_count >= 5, cooldown: 5d, message: Look.}
  silent: {kind: alert, on: [deadline.silence], when: order_count >= 2, cooldown: 1d, message: Silent.}
"""


def write_config(folder: Path) -> Path:
    """Write the three files; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("features", FEATURES), ("models", MODELS), ("policies", POLICIES)):
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder
