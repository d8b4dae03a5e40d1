"""`python -m bench.servers kafka start|stop [--port 9092]`: runs a broker in the background.

Its data stay in .kafka/data until you remove that directory.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from .kafka import KAFKA_HOME, KafkaServer
from .process import STOP_TIMEOUT_S, ServerError

PID_FILE = KAFKA_HOME / "broker.pid"


def main(argv: list[str] | None = None) -> int:
    """Start or stop the broker. Exit status: 0 if done, 1 if not."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.servers",
        description="Start or stop a Kafka broker in the background.",
        epilog="example: python -m bench.servers kafka start --port 9092",
    )
    parser.add_argument("server", choices=["kafka"])
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("--port", type=int, default=9092)
    args = parser.parse_args(argv)
    try:
        print(start(args.port) if args.action == "start" else stop())
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def start(port: int, pid_file: Path = PID_FILE) -> str:
    """Start a broker that outlives this process; return the line to print."""
    running = _running_pid(pid_file)
    if running is not None:
        raise ServerError(f"kafka is already running with pid {running}: `make kafka-stop` ends it")
    server = KafkaServer(port, pid_file.parent / "data").start()
    pid_file.write_text(f"{server.detach()}\n")
    return f"kafka is up at {server.bootstrap}"


def stop(pid_file: Path = PID_FILE) -> str:
    """End the broker of the pid file; return the line to print."""
    pid = _running_pid(pid_file)
    if pid is None:
        pid_file.unlink(missing_ok=True)
        return "kafka is not running"
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _is_broker(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.1)
    pid_file.unlink(missing_ok=True)
    return f"kafka with pid {pid} is stopped"


def _running_pid(pid_file: Path) -> int | None:
    try:
        pid = int(pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if _is_broker(pid) else None


def _is_broker(pid: int) -> bool:
    """Whether `pid` is a running broker: after a reboot another process may have the number."""
    shown = subprocess.run(["ps", "-ww", "-o", "stat=,args=", "-p", str(pid)], capture_output=True, text=True)
    return "kafka.Kafka" in shown.stdout and not shown.stdout.lstrip().startswith("Z")


if __name__ == "__main__":
    sys.exit(main())
