"""Polls `/status` and `/readyz` of the other roles over HTTP, for the server role."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson

from .status import RoleReport

PERIOD_S = 1.0
UNWATCHED_S = 10.0  # while nobody watches; a poll follows at once when somebody comes
# A role on this machine answers in milliseconds; one that hangs must not hold up the page.
TIMEOUT_S = 0.5
ANSWER_MAX_BYTES = 1 << 20
POLLERS = 8


def poll_roles(
    addresses: Mapping[str, str], before: Mapping[str, RoleReport] | None = None
) -> dict[str, RoleReport]:
    """Poll every role (name -> `host:port`) in parallel; one that does not answer keeps its status from `before`."""
    known = before or {}
    if not addresses:
        return {}
    with ThreadPoolExecutor(min(POLLERS, len(addresses)), "poll") as pool:
        asked = {name: pool.submit(_ask, at, known.get(name)) for name, at in addresses.items()}
        return {name: report.result() for name, report in asked.items()}


class RolePoller:
    """A thread that polls all roles periodically and passes their reports to `update`.

    It reads `addresses` again in each round. `watched()`: whether somebody looks at the reports now; if not, it polls
    every `unwatched_s` only.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        update: Callable[[Mapping[str, RoleReport]], None],
        period_s: float = PERIOD_S,
        *,
        watched: Callable[[], bool] = lambda: True,
        unwatched_s: float = UNWATCHED_S,
    ) -> None:
        self._addresses, self._update, self._period_s = addresses, update, period_s
        self._watched, self._unwatched_s = watched, unwatched_s
        self._stopping, self._wanted = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="roles", daemon=True)

    def start(self) -> RolePoller:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """Poll soon because somebody opened the page; at most once per period."""
        self._wanted.set()

    def _run(self) -> None:
        reports: dict[str, RoleReport] = {}
        while True:
            reports = poll_roles(dict(self._addresses), reports)
            self._update(reports)
            if self._stopping.wait(self._period_s):
                return
            if not self._watched():
                self._wanted.wait(max(0.0, self._unwatched_s - self._period_s))
            self._wanted.clear()


def _ask(address: str, before: RoleReport | None) -> RoleReport:
    try:
        ready_code, reason = _get(address, "/readyz")
        status_code, status = _get(address, "/status")
        if status_code != 200:
            raise ValueError(f"/status answered {status_code}")
        decoded: Any = orjson.loads(status)
        if not isinstance(decoded, dict):
            raise ValueError("/status is no object")
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return {
            "address": address,
            "reachable": False,
            "ready": False,
            "reason": f"no answer: {cause}",
            "status": before["status"] if before else {},
        }
    return {
        "address": address,
        "reachable": True,
        "ready": ready_code == 200,
        "reason": reason.decode("utf-8", "replace").strip(),
        "status": decoded,  # type: ignore[typeddict-item]
    }


def _get(address: str, path: str) -> tuple[int, bytes]:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(ANSWER_MAX_BYTES)
    finally:
        connection.close()
