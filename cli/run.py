"""The command line. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.errors import ConfigError, StreamwiseError

if TYPE_CHECKING:
    from config.settings import Settings

BENCHES = ("engine", "product", "latency", "scale", "workers", "failover", "soak", "faults", "models")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Real-time processing of customer events: live offers, churn alerts, models that learn on the stream.",
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object on the last line of standard output.")]
Kafka = Annotated[str | None, typer.Option(help="host:port of a Kafka broker (STREAMWISE_KAFKA).")]
ConfigFolder = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Folder of features.yaml, models.yaml and policies.yaml (STREAMWISE_CONFIG)."
    ),
]
Mapping = Annotated[Path | None, typer.Option(help="What the columns of a file mean (YAML).")]
Limit = Annotated[int | None, typer.Option(min=1, help="Stop after so many events.")]
KeyFile = Annotated[
    Path | None, typer.Option("--key", help="The key file of encrypted backups (STREAMWISE_BACKUP_KEY).")
]
Tied = Annotated[bool, typer.Option("--tied", hidden=True)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, not only what goes wrong.")]


@app.command()
def demo(
    json_: Json = False,
    limit: Limit = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the live page.")] = False,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Go on serving the page until Ctrl-C; keep the ledger and the logs."),
    ] = False,
    config: ConfigFolder = None,
) -> None:
    """A year of real baskets through every role, on this machine, with nothing but Python.

    Example: streamwise demo --no-browser
    """
    from rich.console import Console

    from operations.demo.accounting import lines
    from operations.demo.run import run_demo

    console = Console(stderr=json_)
    browser = not (no_browser or json_) and console.is_terminal
    summary = run_demo(_settings(config=config), limit=limit, browser=browser, keep=keep, console=console)
    _report(summary, json_, lines)
    if summary.get("lost") or summary.get("dead_letters"):
        raise typer.Exit(1)


@app.command()
def up(kafka: Kafka = None, config: ConfigFolder = None) -> None:
    """Start worker, learner, ledger, analyst, server and, where messages can be read, the reader, until Ctrl-C.

    Example: streamwise up --kafka 127.0.0.1:9092
    """
    from agents.runtime.preflight import prepare
    from agents.runtime.signals import stop_on_signals
    from agents.runtime.supervisor import run_together
    from models.recommendation.shop import warm as warm_shop
    from pipeline.config import load_config
    from pipeline.live_pass import LivePass
    from pipeline.warmup import warm as warm_pass

    settings = _settings(kafka=kafka, config=config)
    with stop_on_signals() as stop:
        prepare(settings)
        warm_pass(LivePass(load_config(settings.config)))
        warm_shop()
        run_together(settings, stop, print)


@app.command()
def warm(json_: Json = False, config: ConfigFolder = None) -> None:
    """Compile the kernels into Numba's cache, before several processes want them at once.

    Example: streamwise warm
    """
    from models.recommendation.shop import warm as warm_shop
    from pipeline.config import load_config
    from pipeline.live_pass import LivePass
    from pipeline.warmup import warm as warm_pass

    seconds = warm_pass(LivePass(load_config(_settings(config=config).config))) + warm_shop()
    _report({"seconds": round(seconds, 2)}, json_, lambda done: [f"kernels are ready ({done['seconds']} s)"])


@app.command()
def worker(
    tied: Tied = False, verbose: Verbose = False, kafka: Kafka = None, config: ConfigFolder = None
) -> None:
    """Fold events into customers' rows, score them, decide (steps 2 to 8).

    Example: streamwise worker --kafka 127.0.0.1:9092
    """
    settings = _role("worker", tied, verbose, kafka=kafka, config=config)
    from agents.worker.role import Worker

    _run(Worker(settings))


@app.command()
def learner(
    tied: Tied = False,
    verbose: Verbose = False,
    kafka: Kafka = None,
    config: ConfigFolder = None,
    figures_from: Annotated[
        int | None,
        typer.Option(help="/status: figures over examples opened from this time on (ms since 1970) …"),
    ] = None,
    figures_to: Annotated[int | None, typer.Option(help="… and due by this time (ms since 1970).")] = None,
) -> None:
    """Learn from matured examples and publish model snapshots (step 10).

    Example: streamwise learner --kafka 127.0.0.1:9092
    """
    settings = _role("learner", tied, verbose, kafka=kafka, config=config)
    from agents.learner.role import LearnerRole
    from models.evaluation.period import Period

    _run(LearnerRole(settings, period=Period.between(figures_from, figures_to)))


@app.command()
def ledger(tied: Tied = False, verbose: Verbose = False, kafka: Kafka = None) -> None:
    """Keep alerts, offers and what became of them in SQL (step 9).

    Example: STREAMWISE_LEDGER=postgresql://me:secret@127.0.0.1:5432/streamwise streamwise ledger
    """
    settings = _role("ledger", tied, verbose, kafka=kafka)
    from agents.ledger.role import LedgerRole

    _run(LedgerRole(settings))


@app.command()
def analyst(
    tied: Tied = False, verbose: Verbose = False, kafka: Kafka = None, config: ConfigFolder = None
) -> None:
    """Forecast sales and demand, and recommend products to each customer who changed (step 10).

    Example: streamwise analyst --kafka 127.0.0.1:9092
    """
    settings = _role("analyst", tied, verbose, kafka=kafka, config=config)
    from agents.analyst.role import AnalystRole

    _run(AnalystRole(settings))


@app.command()
def reader(
    tied: Tied = False, verbose: Verbose = False, kafka: Kafka = None, config: ConfigFolder = None
) -> None:
    """Read the texts of messages: what comes to social.messages goes on to social.events (step 1).

    Example: streamwise reader --kafka 127.0.0.1:9092
    """
    settings = _role("reader", tied, verbose, kafka=kafka, config=config)
    from agents.reader.role import ReaderRole

    _run(ReaderRole(settings))


@app.command()
def server(
    tied: Tied = False, verbose: Verbose = False, kafka: Kafka = None, config: ConfigFolder = None
) -> None:
    """Serve the live page (step 9).

    Example: streamwise server --kafka 127.0.0.1:9092
    """
    settings = _role("server", tied, verbose, kafka=kafka, config=config)
    from agents.server.role import ServerRole

    _run(ServerRole(settings))


@app.command()
def topics(
    json_: Json = False,
    check: Annotated[
        bool, typer.Option("--check", help="Create nothing; fail if a topic is missing.")
    ] = False,
    acls: Annotated[
        str | None,
        typer.Option(
            help="Print what gives each role its ACLs instead; {role} in the principal is its name."
        ),
    ] = None,
    kafka: Kafka = None,
    config: ConfigFolder = None,
) -> None:
    """Create the topics that are missing and check the others.

    Example: streamwise topics --kafka 127.0.0.1:9092
    Example: streamwise topics --acls User:streamwise-{role}
    """
    from agents.runtime.preflight import prepare, source_topics
    from agents.topology.acls import commands

    settings = _settings(kafka=kafka, config=config)
    if acls is not None:
        print("\n".join(commands(settings.kafka, acls, source_topics(settings))))
        return
    done = prepare(settings, "" if check else "topics", patience_s=0, create=not check)
    _report(
        {"topics": done}, json_, lambda found: [f"{name}: {state}" for name, state in found["topics"].items()]
    )


@app.command()
def doctor(json_: Json = False, kafka: Kafka = None, config: ConfigFolder = None) -> None:
    """Check Python, packages, config, kernels, disk, broker, topics, Redis and SQL.

    Example: streamwise doctor
    """
    from operations.doctor import examine, lines, report

    found = report(examine(_settings(kafka=kafka, config=config)))
    _report(found, json_, lines)
    raise typer.Exit(0 if found["ok"] else 1)


@app.command()
def changes(
    old: Annotated[Path, typer.Argument(help="The config folder that the running workers have.")],
    json_: Json = False,
    config: ConfigFolder = None,
) -> None:
    """What an upgrade from another config to this one keeps in the rows, and a downgrade; needs no broker.

    Example: streamwise changes /srv/streamwise/config --config config
    """
    from operations.compare_configs import compare, lines
    from pipeline.config import load_config

    new = load_config(_settings(config=config).config)
    _report(compare(load_config(old), new), json_, lines)


@app.command()
def backup(
    file: Annotated[
        Path | None, typer.Argument(help="The file to make, or with --drill one to restore for trial.")
    ] = None,
    since: Annotated[
        Path | None, typer.Option(help="The backup before it: only what changed since is written.")
    ] = None,
    key: KeyFile = None,
    drill: Annotated[
        bool,
        typer.Option(
            "--drill",
            help="Restore FILE for trial and compare every row; made first if not there.",
        ),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Make backups by the clock (STREAMWISE_BACKUP_DIR), until Ctrl-C.")
    ] = False,
    new_key: Annotated[
        Path | None, typer.Option("--new-key", help="Make a key file and do nothing else.")
    ] = None,
    json_: Json = False,
    tied: Tied = False,
    verbose: Verbose = False,
    kafka: Kafka = None,
    config: ConfigFolder = None,
) -> None:
    """Write customers, models, config, ledger and offsets into one file, while the roles work.

    Example: streamwise backup monday.backup --key backup.key
    """
    from agents.runtime.priority import give_way

    give_way()  # a second of imports, too
    from operations import backup as backups

    settings = _settings(kafka=kafka, config=config)
    if new_key is not None:
        _report({"key": backups.new_key(new_key)}, json_, lambda done: [f"{new_key} holds key {done['key']}"])
        return
    if watch:
        _watch(_role("", tied, verbose, kafka=kafka, config=config))
        return
    if drill:
        found = backups.drill(settings, file, key=backups.key_of(settings, key), quiet=json_)
        _report(found, json_, backups.drill_lines)
        raise typer.Exit(0 if found["ok"] else 1)
    if file is None:
        raise ConfigError("backup", None, "expected the name of the file to make, got none")
    done = backups.make_backup(settings, file, since=since, key=backups.key_of(settings, key), quiet=json_)
    _report(done, json_, backups.backup_lines)


@app.command()
def restore(
    files: Annotated[
        list[Path], typer.Argument(help="A backup (what it builds on beside it), or all files in order.")
    ],
    key: KeyFile = None,
    json_: Json = False,
    kafka: Kafka = None,
    config: ConfigFolder = None,
) -> None:
    """Restore a backup into an empty cluster, before any role is started there.

    Example: streamwise restore monday.backup --key backup.key
    """
    from operations import backup as backups

    settings = _settings(kafka=kafka, config=config)
    done = backups.restore_backup(settings, files, key=backups.key_of(settings, key), quiet=json_)
    _report(done, json_, backups.restore_lines)


@app.command()
def replay(
    source: Annotated[
        str, typer.Argument(help="complete-journey, cdnow, or a CSV, Parquet or JSON-lines file.")
    ],
    mapping: Mapping = None,
    speed: Annotated[str | None, typer.Option(help="Stream time a second, such as 1d/s; else fast.")] = None,
    limit: Limit = None,
    until: Annotated[str | None, typer.Option(help="Stop before this date.")] = None,
    no_resume: Annotated[bool, typer.Option("--no-resume", help="Start over.")] = False,
    json_: Json = False,
    kafka: Kafka = None,
) -> None:
    """Send recorded events to their topics; stops cleanly and goes on where it stopped.

    Example: streamwise replay complete-journey --speed 1d/s
    """
    from operations.replay import lines, replay_source

    done = replay_source(
        _settings(kafka=kafka), source, mapping=mapping, speed=speed, limit=limit, until=until, resume=not no_resume,
        quiet=json_,
    )  # fmt: skip
    _report(done, json_, lines)


@app.command()
def evaluate(
    source: Annotated[
        str, typer.Argument(help="complete-journey, cdnow, or a CSV, Parquet or JSON-lines file.")
    ],
    mapping: Mapping = None,
    examples: Annotated[
        Path | None, typer.Option(help="Write all matured examples to this Parquet file.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Figures from this date on; else the last half.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="nightly-lightgbm: compare with LightGBM refitted at every midnight of the stream."
        ),
    ] = None,
    horizon: Annotated[
        str | None, typer.Option(help="Another `within` for the model, such as 30d; with --model.")
    ] = None,
    limit: Limit = None,
    json_: Json = False,
    config: ConfigFolder = None,
) -> None:
    """How well the models predict recorded events, in order of time; needs no broker.

    Example: streamwise evaluate complete-journey --examples examples.parquet
    """
    from operations.evaluate import evaluate as run
    from operations.evaluate import lines

    done = run(
        _settings(config=config), source, mapping=mapping, examples=examples, model=model, start=start, limit=limit,
        baseline=baseline, horizon=horizon, quiet=json_,
    )  # fmt: skip
    _report(done, json_, lines)


dead_letters = typer.Typer(
    no_args_is_help=True,
    help="Records that could not be processed: count them, look at one, replay them.\n\n"
    "Example: streamwise dead-letters list",
)
app.add_typer(dead_letters, name="dead-letters")

Reason = Annotated[str, typer.Option(help="Only those whose reason contains this.")]
Topic = Annotated[str, typer.Option(help="Only those of this topic.")]
Since = Annotated[str | None, typer.Option(help="Only records appended from this date or time on.")]
Until = Annotated[str | None, typer.Option(help="Only records appended before this date or time.")]


@dead_letters.command("list")
def list_letters(
    reason: Reason = "",
    topic: Topic = "",
    since: Since = None,
    until: Until = None,
    json_: Json = False,
    kafka: Kafka = None,
) -> None:
    """Count them by topic and reason.

    Example: streamwise dead-letters list --topic sales.events
    """
    from operations.dead_letters import summary, summary_lines

    choice = _choice(reason, topic, since, until)
    _report(summary(_letterbox(_settings(kafka=kafka)), choice), json_, summary_lines)


@dead_letters.command("show")
def show_letter(
    letter: Annotated[str, typer.Argument(help="TOPIC:PARTITION:OFFSET, as the list shows them.")],
    json_: Json = False,
    kafka: Kafka = None,
) -> None:
    """One of them, with its record.

    Example: streamwise dead-letters show sales.events:3:1207
    """
    from operations.dead_letters import detail, detail_lines

    _report(detail(_letterbox(_settings(kafka=kafka)), letter), json_, detail_lines)


@dead_letters.command("replay")
def replay_letters(
    reason: Reason = "",
    topic: Topic = "",
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many would be sent and why others not.")
    ] = False,
    json_: Json = False,
    kafka: Kafka = None,
    config: ConfigFolder = None,
) -> None:
    """Send them to their topics again, each once: key, value, headers and time as they were.

    Example: streamwise dead-letters replay --reason "schema id"
    """
    from agents.runtime.preflight import source_topics
    from operations.redeliver import lines, redeliver, told
    from streams.kafka.wait_for_broker import reach

    settings, choice = _settings(kafka=kafka, config=config), _choice(reason, topic, since, until)
    sources = source_topics(settings)
    reach(settings.access)
    _report(told(redeliver(settings.access, sources, choice, limit=limit, dry=dry_run)), json_, lines)


models = typer.Typer(
    no_args_is_help=True,
    help="Champions and challengers: who leads, by what evidence; change it by hand.\n\n"
    "Example: streamwise models list",
)
app.add_typer(models, name="models")

Model = Annotated[str, typer.Argument(help="A model of models.yaml.")]


@models.command("list")
def list_models(json_: Json = False, kafka: Kafka = None) -> None:
    """Each model's champion, its figures, and how its challengers stand.

    Example: streamwise models list --json
    """
    from operations.models import list_lines, listed

    _report(listed(_reached(kafka)), json_, list_lines)


@models.command("show")
def show_model(model: Model, json_: Json = False, kafka: Kafka = None) -> None:
    """One of them with every recorded change of champion and its evidence.

    Example: streamwise models show purchase
    """
    from operations.models import show_lines, shown

    _report(shown(_reached(kafka), model), json_, show_lines)


@models.command("promote")
def promote_model(
    model: Model,
    challenger: Annotated[str, typer.Argument(help="The one that is to score from now on.")],
    json_: Json = False,
    kafka: Kafka = None,
) -> None:
    """Make a challenger the champion without waiting for the evidence.

    Example: streamwise models promote purchase quick
    """
    from operations.models import changed, show_lines

    _report(changed(_reached(kafka), model, challenger), json_, show_lines)


@models.command("rollback")
def roll_back_model(model: Model, json_: Json = False, kafka: Kafka = None) -> None:
    """Make the champion before the latest change the champion again.

    Example: streamwise models rollback purchase
    """
    from operations.models import changed, show_lines

    _report(changed(_reached(kafka), model, None), json_, show_lines)


def _reached(kafka: str | None) -> Settings:
    from streams.kafka.wait_for_broker import reach

    settings = _settings(kafka=kafka)
    reach(settings.access)
    return settings


def _choice(reason: str, topic: str, since: str | None, until: str | None) -> Any:
    from operations.dead_letters import Choice
    from operations.replay import parse_date_ms

    times = {}
    if since is not None:
        times["since_ms"] = parse_date_ms(since, "--since")
    if until is not None:
        times["until_ms"] = parse_date_ms(until, "--until")
    return Choice(reason, topic, **times)


def _letterbox(settings: Settings) -> Any:
    from operations.dead_letters import read_letters
    from streams.kafka.wait_for_broker import reach

    reach(settings.access)
    return read_letters(settings.access)


corrections = typer.Typer(
    no_args_is_help=True,
    help="What people say of messages that were read: the reader learns from it.\n\n"
    "Example: streamwise corrections send corrections.jsonl",
)
app.add_typer(corrections, name="corrections")


@corrections.callback()
def _corrections() -> None:
    """A group, however many commands there are."""


@corrections.command("send")
def send_corrections(
    file: Annotated[
        Path | None,
        typer.Argument(help="JSON lines: text, and sentiment or labels; id, message_id, language, by, time."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="Instead of a file: the text …")] = None,
    sentiment: Annotated[float | None, typer.Option(help="… its sentiment, from -1 to 1 …")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="… and what it is or is not: complaint, churn_intent=no, billing."),
    ] = None,
    message_id: Annotated[str | None, typer.Option(help="The message that it is of.")] = None,
    language: Annotated[str | None, typer.Option(help="Its language, such as en.")] = None,
    by: Annotated[str | None, typer.Option(help="Who says so.")] = None,
    json_: Json = False,
    kafka: Kafka = None,
    config: ConfigFolder = None,
) -> None:
    """Send corrections; each is learned once, however often it is sent.

    Example: streamwise corrections send corrections.jsonl
    Example: streamwise corrections send --text "Well, that was quick" --sentiment=-0.4 --label complaint
    """
    from operations import corrections as correcting

    settings = _settings(kafka=kafka, config=config)
    one = {"text": text, "sentiment": sentiment, "labels": correcting.labels_of(label or [])}
    given = {**one, "message_id": message_id, "language": language, "by": by}
    done = correcting.send(settings, correcting.gather(file, given))
    _report(done, json_, correcting.lines)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(BENCHES)}; its own options follow.")],
    json_: Json = False,
) -> None:
    """Measure the engine beside others, the whole product, or its latency. The last line is always JSON.

    Example: streamwise bench engine --scale 0.1
    """
    from importlib import import_module

    if name not in BENCHES:
        raise ConfigError("bench", None, f"expected one of {', '.join(BENCHES)}, got {name!r}")
    from bench.servers.process import end_on_sigterm

    end_on_sigterm()
    raise typer.Exit(import_module(f"bench.{name}").main(context.args))


def _settings(**given: Any) -> Settings:
    from config.settings import load_settings

    return load_settings(**given)


def _role(role: str, tied: bool, verbose: bool, **given: Any) -> Settings:
    """What every role does first: logging, settings, config; it waits for a broker within bounds."""
    import logging

    from agents.runtime.parent_watch import end_with_parent
    from agents.runtime.preflight import prepare
    from agents.runtime.role import set_up_logging

    if tied:
        end_with_parent()
    set_up_logging(logging.INFO if verbose else logging.WARNING)
    settings = _settings(**given)
    prepare(settings, role)
    return settings


def _watch(settings: Settings) -> None:
    from agents.runtime.signals import stop_on_signals
    from operations.backup_schedule import BackupWatch

    with stop_on_signals() as stop:
        BackupWatch(settings).run(stop)


def _run(role: Any) -> None:
    from agents.runtime.role import run_role

    raise typer.Exit(run_role(role.run))


def _report(result: dict[str, Any], as_json: bool, lines: Callable[[dict[str, Any]], list[str]]) -> None:
    print(json.dumps(result) if as_json else "\n".join(lines(result)), flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and end the process with 0 (ok), 1 (failed) or 2 (wrong use or wrong config)."""
    try:
        app(arguments, prog_name="streamwise")
    except ConfigError as error:
        _end(str(error), 2)
    except StreamwiseError as error:
        _end(str(error), 1)
    except ModuleNotFoundError as error:
        _end(f"the package {error.name} is missing; `make setup` installs everything", 1)
    except KeyboardInterrupt:
        _end("interrupted", 1)


def _end(line: str, status: int) -> None:
    sys.stderr.write(f"streamwise: {line}\n")
    raise SystemExit(status)
