"""What the roles on an `Intake` share: outputs, watchdog, HTTP port, readiness, start and stop."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from faust.types.tuples import TP

from agents.processes import announce
from config.settings import Settings
from serving.monitoring import RoleStatus
from streams.intake import Batches, Bounds, Intake
from streams.kafka import Outputs, librdkafka_settings
from streams.supervision import STALL_S, Points, Watch, Watchdog

from .role import HttpPort, run_app


class IntakeRole(ABC):
    """Implements `streams.intake.Taker` and runs it as a role; a subclass says what it does with the records.

    `whole`: whether all partitions it needs are assigned; a role that must be alone in its group sets it in `begin`.
    `completed_at`: the time of the last commit (`time.monotonic`); each role sets it. `failpoints[name]()`, for tests,
    is called at each name in `POINTS`.
    """

    NAME: str  # names its port, its folder and its ready line
    POINTS: tuple[str, ...] = ()

    def __init__(
        self,
        settings: Settings,
        group: str,
        topics: Sequence[str],
        *,
        stall_s: float = STALL_S,
        customer: Callable[[bytes], Mapping[str, Any] | None] | None = None,
    ) -> None:
        self.settings = settings
        self.outputs = Outputs({**librdkafka_settings(settings.access), "log_level": 0})
        self.intake = Intake(
            group,
            settings.access,
            topics,
            self,
            partitions=settings.partitions,
            folder=settings.state / self.NAME,
        )
        self.failpoints: Points = {}
        self.whole = True
        self.completed_at = time.monotonic()
        watches = [*self.watches(), *self.intake.watches()]
        self.watchdog = Watchdog(watches, away=self.who_is_away, stall_s=stall_s)
        port = getattr(settings, f"{self.NAME}_port")
        self.http = HttpPort(
            self.NAME, settings.host, port, self.status, self.ready, customer, self.watchdog.live
        )

    # -- Taker -------------------------------------------------------------------------------------------

    @abstractmethod
    async def begin(self, bounds: Bounds) -> dict[TP, int]:
        """Return the first offset wanted of each partition."""

    @abstractmethod
    async def take(self, batches: Batches) -> None:
        """Handle the batches of one fetch."""

    @abstractmethod
    async def commit(self) -> dict[TP, int]:
        """Make everything taken so far durable; return the offsets that may be committed now."""

    # -- hooks of a role

    def watches(self) -> list[Watch]:
        """Return the role's own watched steps, the more specific first.

        Called before the subclass has its own attributes.
        """
        return []

    def who_is_away(self) -> str:
        """Return which neighbour does not answer. The watchdog's thread asks, over connections of its own."""
        return self.intake.probe.ask()

    def waits_for(self) -> str:
        """Return what else the role waits for; empty if nothing."""
        return ""

    async def prepare(self) -> None:
        """Run before the first batch; the watchdog already watches."""
        return

    async def finish(self) -> None:
        """Run after the last batch, however the role ends."""
        return

    # -- figures

    def ready(self) -> tuple[bool, str]:
        """Return whether the role takes records, and if not, what it waits for."""
        waits = self.watchdog.away or self.intake.probe.away or self.waits_for()
        if waits:
            return False, waits
        if not self.intake.assigned:
            return False, "partitions are being assigned"
        if not self.whole:
            return False, f"another {self.NAME} is in the group: learning waits until one of them ends"
        return True, ""

    def status(self) -> RoleStatus:
        """Return the figures for /status, /metrics and the page."""
        return {
            "role": self.NAME,
            "lag": self.intake.lag(),
            "missed": self.intake.missed,
            "commit_age_s": time.monotonic() - self.completed_at,
            "partitions": len(self.intake.positions),
        }

    # -- life

    @property
    def address(self) -> str:
        """The HTTP address (host:port)."""
        return f"{self.settings.host}:{self.http.server.port}"

    async def run(self) -> None:
        """Work until stopped."""
        self.http.start()
        self.watchdog.start()  # before the start, which may hang, too
        self._beating = asyncio.ensure_future(self.watchdog.keep_beating())
        try:
            await self.prepare()
            await run_app(self.intake.app, on_started=self._started)
        finally:
            await self.finish()
            self.watchdog.stop()
            self.http.stop()

    def _started(self) -> None:
        self._telling = asyncio.ensure_future(announce(self.NAME, self.ready, self.address))
