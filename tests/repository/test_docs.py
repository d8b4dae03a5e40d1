"""Promise: what the docs tell a reader to type works as it stands there."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from confluent_kafka import Consumer

from agents.topology.acls import ROLES, permissions
from agents.topology.topics import topics
from bench.servers import KafkaServer
from config.settings import ROOT as CONFIG_ROOT
from config.settings import Settings
from ingest.files.file_source import FileSource
from pipeline.config import load_config
from schemas import IDS, decode
from streams.kafka.embedded_broker import EmbeddedBroker
from streams.kafka.permissions import TRANSACTIONS, Operation, Permission

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
README = DOCS[0].read_text(encoding="utf-8")
ORDERS = "order_id,customer_id,ordered_at,total,sku\n4711,42,2026-11-22T12:30:00,59.9,sku-1\n"


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def typed() -> Iterator[str]:
    """Every command line of a shell block, and every `streamwise ...` or `make ...` in the text."""
    for path in DOCS:
        text = path.read_text(encoding="utf-8")
        for block in blocks(text, "sh"):
            yield from filter(None, (line.partition(" #")[0].strip() for line in block.splitlines()))
        yield from re.findall(r"`((?:streamwise|make) [^`]*)`", text)


COMMANDS = sorted(set(typed()))


def command_line() -> Any:
    from cli.app import app

    return typer.main.get_command(app)


def options_of_bench(name: str) -> set[str]:
    """A bench has options of its own behind its name; its help lists them."""
    told = StringIO()
    with redirect_stdout(told), pytest.raises(SystemExit):
        import_module(f"bench.{name}").main(["--help"])
    return set(re.findall(r"--[a-z][a-z-]*", told.getvalue()))


@pytest.mark.parametrize("line", [line for line in COMMANDS if "streamwise" in shlex.split(line)[0]])
def test_a_command_in_the_docs_exists_with_its_options(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    commands = command_line().commands
    assert name in commands
    command = commands[name]
    if hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        command = command.commands[arguments[0]]
    known = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    if name == "bench" and arguments and not arguments[0].startswith("-"):
        known |= options_of_bench(arguments[0])
    assert {a.partition("=")[0] for a in arguments if a.startswith("-")} <= {*known, "--help"}


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_a_make_target_in_the_docs_exists(line: str) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert shlex.split(line)[1] in targets


def test_every_make_target_that_people_type_says_what_it_does() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name for name in phony[1].split() if f"make {name}" not in done.stdout} == {"help", "setup-dev"}


@pytest.mark.parametrize("path", DOCS, ids=[str(path.relative_to(ROOT)) for path in DOCS])
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]


def test_the_table_of_settings_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "OPERATIONS.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(STREAMWISE_\w+)` \| (?:`(.*?)` )?\| (.*) \|$", text, re.MULTILINE)
    expected = []
    for name, field in Settings.model_fields.items():
        default = "config" if field.default == CONFIG_ROOT / "config" else str(field.default)
        expected.append((f"STREAMWISE_{name.upper()}", default, field.description or "HTTP port"))
    assert rows == expected


def test_the_table_of_acls_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "OPERATIONS.md").read_text(encoding="utf-8")
    head = "| user | Read | Write | Read on group | Describe on group | Write on transactional ids |\n"
    head += "|---|---|---|---|---|---|\n"
    table = text.partition(head)[2].partition("\n\n")[0]
    told: dict[str, list[Permission]] = {}
    columns = [("topic", Operation.READ), ("topic", Operation.WRITE)]
    columns += [("group", Operation.READ), ("group", Operation.DESCRIBE), (TRANSACTIONS, Operation.WRITE)]
    for line in table.splitlines():
        user, *cells = (re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|"))
        told[user[0]] = [
            Permission(kind, name, operation)
            for (kind, operation), names in zip(columns, cells, strict=True)
            for name in names
        ]
    sources = [source.topic for source in load_config(ROOT / "config").features.sources]
    every = [Permission("topic", name, Operation.DESCRIBE) for name in topics(sources)]
    made = [Permission("topic", name, Operation.CREATE) for name in topics(sources)]
    told = {user: [*listed, *every, *(made if user == "topics" else [])] for user, listed in told.items()}
    assert {user: set(listed) for user, listed in told.items()} == {
        role: set(permissions(role, sources)) for role in ROLES
    }


def test_the_table_of_schemas_is_that_of_the_code() -> None:
    linked = re.findall(r"\[(\w+)\]\(schemas/avro/\w+\.v(\d+)\.avsc\) \((\d+)\)", README)
    assert len(linked) == 4
    assert [IDS[name, int(version)] for name, version, _ in linked] == [int(number) for *_, number in linked]


def test_the_producer_makes_an_event_that_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = blocks(README, "python")
    assert {type(node) for node in ast.parse(example).body} >= {ast.ImportFrom, ast.Assign}
    with EmbeddedBroker() as broker:
        broker.make_topics(["sales.events"])
        address = Settings.model_fields["kafka"].default
        assert address in example
        script = example.replace(address, broker.bootstrap)
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
        settings = {
            "bootstrap.servers": broker.bootstrap,
            "group.id": "docs",
            "auto.offset.reset": "earliest",
        }
        consumer = Consumer(settings)
        consumer.subscribe(["sales.events"])
        message = consumer.poll(20)
        consumer.close()
    assert message is not None
    name, event = decode(message.value() or b"")
    assert (name, message.key(), event["kind"]) == ("sales_event", b"customer-42", "order")


def test_the_mapping_reads_a_file(tmp_path: Path) -> None:
    (mapping,) = [block for block in blocks(README, "yaml") if block.startswith("# orders.yaml")]
    (tmp_path / "orders.yaml").write_text(mapping, encoding="utf-8")
    (tmp_path / "orders.csv").write_text(ORDERS, encoding="utf-8")
    ((topic, key, time_ms, value),) = FileSource(tmp_path / "orders.csv", tmp_path / "orders.yaml").events()
    assert (topic, key, time_ms) == ("sales.events", b"42", 1795347000000)
    assert decode(value)[1]["lines"][0]["product"] == "sku-1"


def test_the_commands_for_events_of_your_own_run(tmp_path: Path) -> None:
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} missing")
    (mapping,) = [block for block in blocks(README, "yaml") if block.startswith("# orders.yaml")]
    (tmp_path / "orders.yaml").write_text(mapping, encoding="utf-8")
    (tmp_path / "orders.csv").write_text(ORDERS, encoding="utf-8")
    wanted = ("topics", "doctor", "replay orders.csv")
    lines = [line for want in wanted for line in COMMANDS if line.startswith(f".venv/bin/streamwise {want}")]
    assert len(lines) == len(wanted)
    with KafkaServer() as kafka:
        for line in lines:
            command = [sys.executable, "-m", "cli", *shlex.split(line)[1:]]
            env = {**os.environ, "STREAMWISE_KAFKA": kafka.bootstrap, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"


def test_the_column_the_policy_and_the_model_are_taken(tmp_path: Path) -> None:
    for path in (ROOT / "config").glob("*.yaml"):
        shutil.copy(path, tmp_path)
    examples = [block for block in blocks(README, "yaml") if block.startswith("# config/")]
    assert len(examples) == 3
    for example in examples:
        match = re.match(r"# config/(\w+\.yaml), under `(\w+)`\n", example)
        assert match is not None
        with open(tmp_path / match[1], "a", encoding="utf-8") as file:  # both end in what is added to
            file.write(example)
        assert list(yaml.safe_load((tmp_path / match[1]).read_text(encoding="utf-8")))[-1] == match[2]
    config = load_config(tmp_path)
    assert config.policies[-1].name == "quote-follow-up"
    assert "quotes_30d" in config.names.views
    model = config.models.models[-1]
    assert (model.name, set(model.learners)) == ("sent_back", {"main", "quick"})
