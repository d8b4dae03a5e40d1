"""Draws a schedule of faults from a seed; the same seed always gives the same schedule."""

from __future__ import annotations

import random
from dataclasses import dataclass

LENGTH_S = 36.0  # length of the load; faults begin during it
FIRST_S, LAST_S = 2.5, 5.0  # no fault begins in the first or the last seconds
PAUSE_S = (1.2, 4.0)  # between the starts of two faults

WORKERS = ("worker-0", "worker-1")
EXTRA = "worker-2"  # joins and leaves
# The named points between two steps of a commit (streams.durability.commit_cycle, agents.learner.role,
# agents.ledger.role), where a role is killed.
POINTS = {
    "worker": ("announced", "adopted", "outputs", "rows", "control", "offsets"),
    "learner": ("published", "acknowledged"),
    "ledger": ("decoded", "written"),
}
# Seconds that each kind lasts (from, to); 0: it is over at once.
KINDS: dict[str, tuple[float, float]] = {
    "kill_worker": (0, 0),
    "kill_learner": (0, 0),
    "kill_ledger": (0, 0),
    "kill_in_commit": (0, 0),
    "stop_worker": (7.5, 10.0),  # the session timeout is 6 s
    "stop_learner": (7.5, 9.0),
    "stop_ledger": (7.5, 9.0),
    "worker_joins": (6.0, 10.0),
    "worker_leaves": (2.0, 5.0),
    "worker_hangs": (0, 0),
    "broker_restart": (0.0, 1.0),
    "broker_kill": (0.5, 4.0),
    "redis_restart": (1.0, 4.0),
    "postgresql_restart": (1.0, 4.0),
    "deliveries_refused": (3.0, 6.0),
    "disk_full": (3.0, 6.0),
    "poison": (0, 0),
    "burst": (0, 0),
}
_WORKER_KINDS = ("kill_worker", "stop_worker", "worker_leaves", "worker_hangs")
_TOPICS_REFUSED = ("alerts", "offers", "training.examples", "customers-changelog", "dead-letters")
_RESOURCES = {
    "kill_learner": "learner", "stop_learner": "learner", "kill_ledger": "ledger", "stop_ledger": "ledger",
    "worker_joins": EXTRA, "broker_restart": "broker", "broker_kill": "broker", "deliveries_refused": "topics",
}  # fmt: skip
# Pause of a fault's target after its end: a restarted role needs some seconds. Faults of one target never overlap.
_REST_S = 5.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its start (seconds into the load), its duration, its target and a detail."""

    at_s: float
    kind: str
    target: str
    lasts_s: float = 0.0
    detail: str = ""

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.at_s:5.1f} s {self.kind} {self.target}{detail}{lasts}"


def draw(seed: int, *, length_s: float = LENGTH_S, kinds: tuple[str, ...] = tuple(KINDS)) -> list[Fault]:
    """Draw the faults of a seed, in order of their starts. `kinds`: those to draw from."""
    rng = random.Random(f"faults {seed}")
    free_at: dict[str, float] = {}
    found: list[Fault] = []
    at_s = FIRST_S
    bag: list[str] = []
    while at_s < length_s - LAST_S:
        if not bag:  # every kind comes once before any comes twice
            bag = rng.sample(kinds, len(kinds))
        fault = _fault(rng, bag.pop(), round(at_s, 2))
        if free_at.get(fault.target, 0.0) <= at_s:
            found.append(fault)
            free_at[fault.target] = at_s + fault.lasts_s + _REST_S
        at_s += rng.uniform(*PAUSE_S)
    return found


def _fault(rng: random.Random, kind: str, at_s: float) -> Fault:
    low, high = KINDS[kind]
    lasts_s = round(rng.uniform(low, high), 2) if high else 0.0
    worker = rng.choice(WORKERS)
    target = worker if kind in _WORKER_KINDS else _RESOURCES.get(kind, kind)
    detail = ""
    if kind == "kill_in_commit":
        role = rng.choice(("worker", "worker", "worker", "learner", "ledger"))
        target = worker if role == "worker" else role
        detail = f"{rng.choice(POINTS[role])}:{rng.randint(1, 3)}"
    elif kind == "worker_hangs":
        detail = f"{rng.choice(POINTS['worker'])}:{rng.randint(1, 2)}:hang"
    elif kind == "deliveries_refused":
        how = rng.choice(("min.insync.replicas", "max.message.bytes"))
        detail = f"{rng.choice(_TOPICS_REFUSED)} {how}"
    elif kind == "worker_joins":
        detail = rng.choice(("SIGTERM", "SIGKILL"))  # how it leaves
    elif kind in ("redis_restart", "postgresql_restart"):
        detail = rng.choice(("stopped", "killed"))
    return Fault(at_s, kind, target, lasts_s, detail)
