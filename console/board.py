"""The data of the live page: the newest report of each role and a bounded number of newest decisions.

One thread polls the roles, another receives decisions, a third renders the page. So every method takes
the lock briefly and returns copies.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from serving.monitoring import ModelStatus, RoleReport

DECISIONS = 50  # kept of each kind; the page shows the first of them
HISTORY = 120  # samples of events/s, one a poll: two minutes at one a second
SCORES = 3  # main scores shown with a decision
KINDS = ("alert", "offer")


class Board:
    """A thread-safe holder of reports and decisions."""

    def __init__(self, decisions: int = DECISIONS, history: int = HISTORY) -> None:
        self._lock = threading.Lock()
        self._reports: dict[str, RoleReport] = {}
        self._rates: deque[float] = deque(maxlen=history)
        self._newest: dict[str, deque[dict[str, Any]]] = {kind: deque(maxlen=decisions) for kind in KINDS}

    def update(self, reports: Mapping[str, RoleReport]) -> None:
        """Replace the reports (name -> report, as from `poll_roles`)."""
        with self._lock:
            self._reports = dict(reports)
            workers = _workers(self._reports.values())
            self._rates.append(sum(r["status"].get("events_per_s", 0.0) for r in workers if r["reachable"]))

    def add_decision(self, decision: Mapping[str, Any]) -> None:
        """Add a decision: id, kind, time (ms), customer, policy; message, cause, scores {name: value}, reasons.

        It skips an id that it already has: replays repeat outputs under the same id.
        """
        shown = _shown(decision)
        with self._lock:
            newest = self._newest[shown["kind"]]
            if all(shown["id"] != other["id"] for other in newest):
                newest.appendleft(shown)

    def decisions(self, kind: str, limit: int = DECISIONS) -> list[dict[str, Any]]:
        """Return the decisions that arrived last, newest first."""
        with self._lock:
            return list(self._newest[kind])[:limit]

    def decisions_of(self, key: bytes) -> list[dict[str, Any]]:
        """Return the decisions for this customer, latest time first."""
        with self._lock:
            every = [d for newest in self._newest.values() for d in newest if d["key"] == key]
        return sorted(every, key=lambda decision: -decision["time"])

    def snapshot(self) -> dict[str, Any]:
        """Return everything in the form that the templates need, added up over the roles."""
        with self._lock:
            reports, rates = dict(self._reports), list(self._rates)
            newest = {kind: list(decisions) for kind, decisions in self._newest.items()}
        return {
            "totals": _totals(reports, rates),
            "rates": rates,
            "roles": reports,
            "models": _models(reports.values()),
            "policies": _policies(reports.values()),
            "dead_letters": _added(r["status"].get("dead_letters", {}) for r in reports.values()),
            "alerts": newest["alert"],
            "offers": newest["offer"],
        }


def customer_path(key: bytes) -> str:
    """Return the path of this customer's page. Browsers drop the segments `.` and `..`, so these go into a query."""
    if key in (b"", b".", b".."):
        return f"/customers?key={quote(key)}"
    return f"/customers/{quote(key, safe='')}"


def _shown(decision: Mapping[str, Any]) -> dict[str, Any]:
    customer = decision["customer"]
    key = customer if isinstance(customer, bytes) else customer.encode("utf-8", "surrogatepass")
    scores = decision.get("scores") or {}
    return {
        "id": decision["id"],
        "kind": decision["kind"],
        "time": decision["time"],
        "key": key,
        "customer": key.decode("utf-8", "backslashreplace"),
        "path": customer_path(key),
        "policy": decision["policy"],
        "cause": decision.get("cause", ""),
        "message": decision.get("message", ""),
        "scores": list(scores.items())[:SCORES],
        "reasons": list(decision.get("reasons") or ()),
    }


def _workers(reports: Iterable[RoleReport]) -> list[RoleReport]:
    return [report for report in reports if report["status"].get("role") == "worker"]


def _totals(reports: Mapping[str, RoleReport], rates: list[float]) -> dict[str, Any]:
    """Add up the totals: dead letters over all roles, all else over the workers."""
    workers = [report["status"] for report in _workers(reports.values())]
    marks = [status["watermark_ms"] for status in workers if "watermark_ms" in status]
    dead = _added(report["status"].get("dead_letters", {}) for report in reports.values())
    return {
        "events_per_s": rates[-1] if rates else None,
        "events": sum(status.get("events", 0) for status in workers),
        "lag": sum(sum(status.get("lag", {}).values()) for status in workers),
        "alerts": sum(status.get("alerts", 0) for status in workers),
        "offers": sum(status.get("offers", 0) for status in workers),
        "customers": sum(status.get("customers", 0) for status in workers),
        "examples": sum(sum(status.get("examples", {}).values()) for status in workers),
        "duplicates": sum(status.get("duplicates", 0) for status in workers),
        "late": sum(status.get("late", 0) for status in workers),
        "dead_letters": sum(dead.values()),
        "watermark_ms": min(marks, default=None),
        "ready": bool(reports) and all(report["ready"] for report in reports.values()),
    }


def _models(reports: Iterable[RoleReport]) -> dict[str, ModelStatus]:
    """Merge the status of each model: its version in use from the workers, its figures from the learner."""
    models: dict[str, ModelStatus] = {}
    for report in sorted(reports, key=lambda report: report["status"].get("role") == "worker"):
        for name, status in report["status"].get("models", {}).items():
            known = {key: value for key, value in status.items() if value is not None}
            models.setdefault(name, {}).update(known)  # type: ignore[typeddict-item]
    return dict(sorted(models.items()))


def _policies(reports: Iterable[RoleReport]) -> list[tuple[str, str, int]]:
    """Return (policy, kind, outputs), most outputs first."""
    workers = [report["status"] for report in _workers(reports)]
    kinds = {policy: kind for status in workers for policy, kind in status.get("kinds", {}).items()}
    outputs = _added(status.get("outputs", {}) for status in workers)
    ranked = sorted(outputs.items(), key=lambda item: (-item[1], item[0]))
    return [(policy, kinds.get(policy, ""), number) for policy, number in ranked]


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for some in counts:
        for name, number in some.items():
            total[name] = total.get(name, 0) + number
    return total
