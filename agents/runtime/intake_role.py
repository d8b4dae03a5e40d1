"""What the roles on an `Intake` share: outputs, watchdog, HTTP port, when they are ready, their life."""

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
    """Implements `agents.intake.Taker` and runs it as a role; a role says what it does with what it takes.

    `whole`: whether it holds all that it needs; one that has to be alone in its group sets it in `begin`.
    `completed_at`: when it committed last, which each role sets. `failpoints[name]()` is called where the `POINTS` of
    the role say, for tests.
    """

    NAME: str  # of its port, its folder and its line
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
        """From which offset on each partition is wanted."""

    @abstractmethod
    async def take(self, batches: Batches) -> None:
        """Handle what one fetch brought."""

    @abstractmethod
    async def commit(self) -> dict[TP, int]:
        """Make what was taken durable; the offsets that may be committed now."""

    # -- what a role adds

    def watches(self) -> list[Watch]:
        """Its own steps, those with their own cause first. Asked for before a subclass has its own attributes."""
        return []

    def who_is_away(self) -> str:
        """Asked in the watchdog's thread, over connections of its own: who does not answer."""
        return self.intake.probe.ask()

    def waits_for(self) -> str:
        """What else it cannot do without, while that is not there."""
        return ""

    async def prepare(self) -> None:
        """Before the first batch, watched already."""
        return

    async def finish(self) -> None:
        """After the last one, however the role ends."""
        return

    # -- figures

    def ready(self) -> tuple[bool, str]:
        """Whether it takes what comes."""
        waits = self.watchdog.away or self.intake.probe.away or self.waits_for()
        if waits:
            return False, waits
        if not self.intake.assigned:
            return False, "partitions are being assigned"
        if not self.whole:
            return False, f"another {self.NAME} is in the group: learning waits until one of them ends"
        return True, ""

    def status(self) -> RoleStatus:
        """Figures for /status, /metrics and the page."""
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
        """host:port of its HTTP port."""
        return f"{self.settings.host}:{self.http.server.port}"

    async def run(self) -> None:
        """Work until stopped."""
        self.http.start()
        self.watchdog.start()  # the start itself may hang, too
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
