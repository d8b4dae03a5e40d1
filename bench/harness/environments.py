"""Makes what the peers run in, at first use: a Python environment and the jars of the JVM peers.

Both are under .bench/ and are made again when their sources change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bench.servers import require, run_once

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / ".bench"
PEERS = ROOT / "bench" / "peers"

JVM_FLAGS = (
    "-Xms3g",
    "-Xmx3g",
    "-XX:+UseParallelGC",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
    # Flink's serializers access private fields of the JDK's collections.
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
)


def peers_python(requirements_name: str = "requirements.txt", venv_name: str = "venv") -> str:
    """Return the interpreter of an environment of peers; peers that need other versions have another one."""
    requirements = PEERS / requirements_name
    venv = OUT / venv_name
    stamp = _digest([requirements])
    python = venv / "bin" / "python"
    if _stamped(venv) != stamp:
        shutil.rmtree(venv, ignore_errors=True)
        run_once([sys.executable, "-m", "venv", str(venv)], "making the peers' environment")
        install = [str(python), "-m", "pip", "install", "-q", "-r", str(requirements)]
        run_once(install, "installing the peers")
        (venv / "stamp").write_text(stamp)
    return str(python)


def java_peer(module: str, main_class: str) -> list[str]:
    """Return the command that runs a JVM peer, without its own options."""
    jars = OUT / "java"
    java = require("java")
    sources = PEERS / "java"
    stamp = _digest(path for path in sources.rglob("*") if path.suffix in (".java", ".xml"))
    if _stamped(jars) != stamp:
        shutil.rmtree(jars, ignore_errors=True)
        maven = [require("mvn"), "-q", "-B", "-f", str(sources / "pom.xml")]
        run_once([*maven, "package", f"-Dbench.out={jars}"], "building the JVM peers")
        (jars / "stamp").write_text(stamp)
    home = jars / module
    class_path = f"{home / f'{module}-1.jar'}:{home / 'libs'}/*"
    return [java, *JVM_FLAGS, "-cp", class_path, main_class]


def run_peer(command: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a peer from the repository's root, so that it can import `bench`, and wait for it."""
    # The temporary directory takes state directories with it, and the jars that Flink unpacks and leaves.
    with tempfile.TemporaryDirectory(prefix="peer-") as scratch:
        java_options = f"-Djava.io.tmpdir={scratch}"
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": scratch, "JAVA_TOOL_OPTIONS": java_options},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )


def _stamped(directory: Path) -> str | None:
    stamp = directory / "stamp"
    return stamp.read_text() if stamp.is_file() else None


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()
