"""Small roles in one process: each keeps its port, its lines and its name; all end together, cleanly where they can."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agents.processes.supervisor import SHARED, SMALL, RoleProcess, Supervisor, environment, run_first
from agents.runtime import sharing
from agents.runtime.role import stop_event
from agents.runtime.sharing import run_shared
from config.settings import Settings, load_settings
from streams.errors import ConfigError, Fatal, Retryable
from streams.supervision.guards import end_process, in_role
from streams.supervision.watchdog import Watch, Watchdog

NAMES = ["learner", "ledger", "server"]


class Fake:
    """Works until it is stopped, or fails."""

    def __init__(self, name: str, settings: Settings, failure: Exception | None, log: list[str]) -> None:
        self.name, self.settings, self._failure, self._log = name, settings, failure, log
        self.address = f"{name}:1"

    async def run(self) -> None:
        stop = stop_event()
        self._log.append(f"{self.name} runs in {threading.current_thread().name}")
        if self._failure is not None:
            raise self._failure
        await stop.wait()
        self._log.append(f"{self.name} stopped")


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The signals and the roles of this process as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr("agents.runtime.role._asked", threading.Event())
    monkeypatch.setattr("agents.runtime.role._waiting", {})
    yield
    signal.set_wakeup_fd(-1)
    for number, action in before.items():
        signal.signal(number, action)


@pytest.mark.usefixtures("own")
def test_a_signal_stops_all_of_them() -> None:
    log: list[str] = []

    def make(name: str, settings: Settings) -> Fake:
        if name == "server":
            threading.Timer(0.2, signal.raise_signal, [signal.SIGTERM]).start()
        return Fake(name, settings, None, log)

    assert run_shared(["learner", "server"], load_settings(), make) == 0
    assert set(log) == {
        "learner runs in learner", "server runs in server", "learner stopped", "server stopped"
    }  # fmt: skip


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Retryable("SQL is away"), 1),
        (ConfigError("models.yaml", 3, "no such column"), 2),
        (ValueError("nobody foresaw it"), 1),
    ],
)
def test_one_that_fails_is_named_and_the_others_stop_as_they_should(
    capsys: pytest.CaptureFixture[str], failure: Exception, status: int
) -> None:
    log: list[str] = []

    def make(name: str, settings: Settings) -> Fake:
        return Fake(name, settings, failure if name == "ledger" else None, log)

    assert run_shared(["learner", "ledger"], load_settings(), make) == status
    assert "learner stopped" in log
    assert str(failure) in capsys.readouterr().err.removeprefix("streamwise: ledger: ")


@pytest.mark.usefixtures("own")
def test_one_that_does_not_stop_holds_the_process_up_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left: list[int] = []
    released = threading.Event()
    monkeypatch.setattr(sharing, "STOP_TIMEOUT_S", 0.2)
    monkeypatch.setattr(sharing, "_leave", left.append)

    class Stuck(Fake):
        async def run(self) -> None:
            stop_event()
            threading.Timer(0.1, signal.raise_signal, [signal.SIGTERM]).start()
            await asyncio.get_running_loop().run_in_executor(None, released.wait)

    run_shared(["learner"], load_settings(), lambda name, settings: Stuck(name, settings, None, []))
    released.set()
    assert left == [1]
    assert "streamwise: learner: it did not end in" in capsys.readouterr().err


@pytest.mark.usefixtures("own")
def test_the_server_is_told_where_the_others_are() -> None:
    told: dict[str, str] = {}

    def make(name: str, settings: Settings) -> Fake:
        if name == "server":
            told.update(settings.role_addresses)
            threading.Timer(0.1, signal.raise_signal, [signal.SIGTERM]).start()
        return Fake(name, settings, None, [])

    assert run_shared(["server", "reader"], load_settings(roles="worker=127.0.0.1:7"), make) == 0
    assert told == {"worker": "127.0.0.1:7", "reader": "reader:1"}


def test_what_ends_the_process_from_within_names_the_role(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = threading.Event()
    monkeypatch.setattr("streams.supervision.guards.os._exit", lambda status: ended.set())

    def role() -> None:
        in_role("ledger")
        watchdog = Watchdog([Watch(lambda: {"take": 1})], stall_s=0.2, end=lambda line: end_process(line))
        watchdog.start()
        assert ended.wait(10)
        watchdog.stop()

    thread = threading.Thread(target=role)
    thread.start()
    thread.join()
    assert capsys.readouterr().err.startswith("streamwise: ledger: watchdog: step take has stood still")
    end_process("of no role")
    assert capsys.readouterr().err == "streamwise: of no role\n"


def test_roles_in_one_process_answer_each_on_its_port_and_end_with_a_last_commit(settings: Settings) -> None:
    with Supervisor(settings, free_ports=True, names=NAMES, shared=SMALL) as roles:
        told: list[str] = []
        assert roles.start(told=told.append)
        assert told == NAMES
        assert len({process.process.pid for process in roles.running.values()}) == 1
        with httpx.Client(trust_env=False) as client:
            for role, address in roles.addresses.items():
                assert client.get(f"http://{address}/readyz").status_code == 200
                assert client.get(f"http://{address}/status").json()["role"] == role
                assert f'streamwise_role{{role="{role}"}} 1.0' in client.get(f"http://{address}/metrics").text
        statuses = roles.stop()
    assert statuses == dict.fromkeys(NAMES, 0)


def test_a_role_that_fails_among_others_is_explained_by_its_own_line(
    settings: Settings, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = {**environment(settings, True), "STREAMWISE_LEDGER_PORT": str(port)}
        process = RoleProcess(SHARED, NAMES, given, tmp_path, roles=NAMES)
        with pytest.raises(
            Fatal, match=f"^the ledger ended with status 1: cannot listen on 127.0.0.1:{port}"
        ):
            process.wait_ready(role="server")
        process.wait(5)


def test_what_comes_first_ends_with_its_own_status_or_when_asked(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = settings.model_copy(update={"config": tmp_path})
    assert run_first(wrong, threading.Event()) == 2
    assert "features.yaml" in capsys.readouterr().err
    stop = threading.Event()
    stop.set()
    assert run_first(settings, stop) == 0
