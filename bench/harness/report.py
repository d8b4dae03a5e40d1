"""Writes docs/BENCHMARKS.md from the figures of the benches: `python -m bench.harness.report`.

Each bench stores its figures in `.bench/results/NAME.json`. The page keeps the section of a bench that has not run
here. For an evaluation: `streamwise evaluate … --json >FILE`, then `python -m bench.harness.report FILE`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / ".bench" / "results"
PAGE = ROOT / "docs" / "BENCHMARKS.md"


def say(line: str) -> None:
    """Print a line of progress on standard error."""
    print(line, file=sys.stderr, flush=True)


def keep(name: str, figures: dict[str, Any]) -> None:
    """Store the figures of a bench for the page."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    about = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
    }
    text = json.dumps({"about": about, "figures": figures}, indent=1)
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


def _engine(figures: dict[str, Any]) -> list[str]:
    lines = [
        "## The engine on one small job",
        "Avro decode, decayed state for each customer, a logistic regression that predicts and learns, alerts. One",
        "Kafka 4.1 broker on the same machine; every engine alone, from the first record to the last. Streamwise runs",
        "with its changelog, commit cycle and acknowledged alerts. `streamwise bench engine --json`",
        "",
    ]
    for customers, engines in figures["customers"].items():
        lines += [
            f"### {int(customers):,} customers",
            "",
            "| engine | events/s | CPU µs an event | alerts |",
            "|---|---:|---:|---:|",
        ]
        for name, result in sorted(engines.items(), key=lambda pair: -pair[1]["events_per_s"]):
            lines.append(
                f"| {name} | {result['events_per_s']:,.0f} | {result['cpu_us_per_event']:.2f} | {result['alerts']:,} |"
            )
        lines.append("")
    ratios = ", ".join(f"{name} {ratio:g}" for name, ratio in figures["ratios"].items())
    return [*lines, f"Streamwise at 10,000 customers is faster by: {ratios}.", ""]


def _product(figures: dict[str, Any]) -> list[str]:
    lines = [
        "## The whole product",
        f"{figures['columns']} columns, {figures['models']} models scored where a score is needed, "
        f"{figures['policies']} policies,",
        f"receipts, views in Redis, the SQL ledger beside it; {figures['outputs_per_event']:.2%} of the events "
        "lead to an alert",
        f"or offer, {figures['examples_per_event']:.2%} to a training example. Synthetic events. "
        "`streamwise bench product --json`",
        "",
        f"- {figures['events_per_s']:,.0f} events/s on one worker, {figures['cpu_us_per_event']:.2f} µs CPU an event",
        "- in the same run, with linear models in place of the mixtures: "
        f"{figures['linear_events_per_s']:,.0f} events/s",
        "- in the same run, Kafka Streams on the small job alone: "
        f"{figures['kafka_streams_events_per_s']:,.0f} events/s",
        "",
        "| where the time goes | CPU µs an event |",
        "|---|---:|",
    ]
    lines += [f"| {name} | {us:.3f} |" for name, us in figures["profile_us_per_event"].items()]
    return [*lines, ""]


def _latency(figures: dict[str, Any]) -> list[str]:
    lines = [
        "## Latency",
        "From an event's append to its alert's append, both stamped by the broker; the run with the median p99, and",
        "the p99 of all runs. A million customers: two workers with standbys and commit cycles; below it the parts of",
        "that run, by what began then. What is above the p99 waited for a core, or behind a longer step: free blocks",
        "that are joined, the rows of a commit or of a standby (docs/decisions/bench.md).",
        "`streamwise bench latency --json`",
        "",
        "| load, events/s | p50 ms | p99 ms | p99.9 ms | max ms | p99 of all runs |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, result in figures.items():
        runs = ", ".join(f"{one:.0f}" for one in result["runs_p99_ms"])
        lines.append(f"| {name.replace('_', ' ')} | {_milliseconds(result)} | {runs} |")
        lines += [f"| … {what} | {_milliseconds(part)} | |" for what, part in result.get("while", {}).items()]
    return [*lines, ""]


def _milliseconds(figures: dict[str, Any]) -> str:
    return " | ".join(f"{figures[key]:.0f}" for key in ("p50_ms", "p99_ms", "p999_ms", "max_ms"))


def _evaluate(figures: dict[str, Any]) -> list[str]:
    lines = [
        "## Models on Complete Journey",
        "Scores given at the time of the decision, over the last half of the year, learned from what had matured by",
        "then; beside them, on the same examples and features, LightGBM refitted at every midnight. ECE by chance:",
        "about what it would be if the scores were the true chances.",
        "`streamwise evaluate complete-journey --baseline nightly-lightgbm --json`",
        "",
        "| model | examples | positives | AUC | log-loss | ECE | by chance | nightly AUC | log-loss | ECE |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, result in figures["models"].items():
        if result.get("auc") is None:
            continue
        figures_of = ("auc", "log_loss", "ece")
        sides = [(result, (*figures_of, "ece_by_chance")), (result.get("baseline", {}), figures_of)]
        numbers = [f"{side[key]:.4f}" if key in side else "" for side, keys in sides for key in keys]
        lines.append(f"| {name} | {result['examples']:,} | {result['positives']:,} | {' | '.join(numbers)} |")
    return [*lines, ""]


def _models(figures: dict[str, Any]) -> list[str]:
    sentiment, recommend = figures["sentiment"], figures["recommend"]
    return [
        "## Learning, scoring, reading",
        "On one core; `bench/models.py` says on what. `streamwise bench models --json`",
        "",
        f"- {figures['learn_examples_per_s']:,.0f} examples/s learned by the shipped mixture, refits included; "
        f"{figures['score_us_per_row']:.1f} µs to score a row",
        f"- messages: r = {sentiment['tweets_r']:.3f} on tweets, {sentiment['reviews_r']:.3f} on reviews, "
        f"{sentiment['reviews_learned_r']:.3f} on their second half after corrections from the first; "
        f"{sentiment['messages_per_s']:,.0f} a second",
        f"- recall@10 of the next basket: {recommend['recall_at_10']:.4f}; the customer's own most frequent "
        f"{recommend['own_frequent']:.4f}, the most popular {recommend['popular']:.4f}",
        "",
    ]


def _model_value(figures: dict[str, Any]) -> list[str]:
    live = figures["live"]
    churn, value = live["models"]["churn"], live["models"]["value"]
    lines = [
        "## Models on CDNOW",
        f"Examples that open after {live['cut']}, scored as they opened; beside them, on the same examples and with",
        "what was known of each customer then, BG/NBD and Gamma-Gamma fitted that day. `python -m bench.quality.value`",
        "",
        "| | AUC | log-loss | mean absolute error | root mean square | Spearman |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, says, spends in (
        ("Streamwise", churn, value),
        ("BG/NBD, Gamma-Gamma", churn["bg_nbd"], value["bg_nbd"]),
    ):
        lines.append(
            f"| {name} | {says['auc']:.4f} | {says['log_loss']:.4f} | {spends['mae']:.2f} | {spends['rmse']:.2f} | "
            f"{spends['spearman']:.4f} |"
        )
    return [*lines, "", f"{churn['examples']:,} examples of churn, {value['examples']:,} of value.", ""]


def _faults(figures: dict[str, Any]) -> list[str]:
    lines = [
        "## Faults",
        "Real Kafka, Redis and PostgreSQL, two workers, a learner and two ledgers under load while faults drawn from a",
        "seed are injected; afterwards every row, output id and SQL row is compared with an undisturbed pass over the",
        "same topics. Gap: the longest time in which a partition with events waiting committed nothing; undisturbed it",
        "is one to two seconds, and longer where seeds share the cores. `streamwise bench faults --seeds N --json`",
        "",
        f"- {figures['seeds']} seeds, {figures['jobs']} at a time, {figures['events']:,} events, "
        f"{sum(figures['faults'].values())} faults",
        f"- lost {figures['lost']}, twice {figures['twice']}, outputs missing {figures['outputs_missing']}, "
        f"outputs twice {figures['outputs_twice']}",
        *(f"- not carried out as drawn, and not counted: seed {seed}" for seed in figures["not_carried_out"]),
        "",
        "| fault | times | longest gap s |",
        "|---|---:|---:|",
    ]
    for kind, count in figures["faults"].items():
        gap_s = figures["longest_gap_s"].get(kind)
        lines.append(f"| {kind.replace('_', ' ')} | {count} | {'' if gap_s is None else f'{gap_s:.1f}'} |")
    return [*lines, ""]


def _scale(figures: dict[str, Any]) -> list[str]:
    lines = [
        "## Many customers on one worker",
        "The product's worker with every customer known to it before and all of that written, commit cycles every four",
        "seconds; each customer has as many events an hour at each size. Committed: how long after the last event all",
        "of them were. Synthetic events. `streamwise bench scale --json`",
        "",
        "| customers | events/s | resident | CPU µs an event | committed |",
        "|---:|---:|---:|---:|---:|",
    ]
    for customers, result in figures["customers"].items():
        lines.append(
            f"| {int(customers):,} | {result['events_per_s']:,.0f} | {result['rss_bytes'] / 1e9:.2f} GB | "
            f"{result['cpu_us_per_event']:.2f} | {result['committed_s']:.1f} s |"
        )
    return [*lines, ""]


def _workers(figures: dict[str, Any]) -> list[str]:
    lines = [
        "## A second worker",
        "One worker and two on the same events, all of which lie ready; the CPU of the worker processes, all threads,",
        "until everything is committed. Medians. `streamwise bench workers --json`",
        "",
        "| workers | CPU s a million events | events/s |",
        "|---|---:|---:|",
    ]
    for name, cpu_s in figures["cpu_s_per_million"].items():
        lines.append(f"| {name} | {cpu_s:.3f} | {figures['events_per_s'][name]:,.0f} |")
    return [*lines, "", f"Two take {figures['ratio']:.2f} times the CPU of one.", ""]


def _failover(figures: dict[str, Any]) -> list[str]:
    return [
        "## Failover",
        f"Two workers with standbys, {figures['customers']:,} customers, 20,000 events/s; one is killed.",
        "`streamwise bench failover --json`",
        "",
        f"- with a standby: the last orphaned partition has an alert again {figures['standby_gap_s']:.1f} s after the "
        "session timeout of 6 s",
        f"- without: a worker that starts with nothing is ready after {figures['restore_s']:.1f} s, imports included",
        "",
    ]


def _soak(figures: dict[str, Any]) -> list[str]:
    drained = ", ".join(f"{seconds:.0f}" for seconds in figures["drained_s"])
    bursts = ", ".join(f"{rate:,.0f}" for rate in figures["burst_events_per_s"])
    return [
        "## Soak",
        f"{figures['minutes']:g} minutes at 80% of the capacity of worker, ledger, broker and producer together.",
        "`streamwise bench soak --json`",
        "",
        f"- {figures['events_per_s']:,.0f} events/s of {figures['capacity_events_per_s']:,.0f}",
        f"- resident memory early {figures['rss_5min_bytes'] / 1e6:,.0f} MB, at the end "
        f"{figures['rss_end_bytes'] / 1e6:,.0f} MB",
        f"- three bursts of ten seconds, {bursts} events/s: lag gone after {drained} s",
        "",
    ]


def _idle(figures: dict[str, Any]) -> list[str]:
    lines = [
        "## Idle",
        f"`streamwise up` with all {len(figures['roles'])} roles and nothing to do, on twelve partitions; the broker "
        "does not count. PSS: what a",
        "process has alone, and its part of what several share. `streamwise bench idle --json`",
        "",
        "| process | PSS MB | % of a core |",
        "|---|---:|---:|",
    ]
    rows = [*figures["processes"].items(), ("all", figures)]
    lines += [f"| {name} | {one['pss_bytes'] / 1e6:.0f} | {one['cpu_percent']:.1f} |" for name, one in rows]
    return [*lines, ""]


PARTS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "engine": _engine,
    "product": _product,
    "latency": _latency,
    "scale": _scale,
    "workers": _workers,
    "failover": _failover,
    "soak": _soak,
    "idle": _idle,
    "evaluate": _evaluate,
    "model_value": _model_value,
    "models": _models,
    "faults": _faults,
}


HEAD = """# Benchmarks
Written by `python -m bench.harness.report` from the last run of each bench. Compare ratios: machines differ.

"""


def page(before: str, results: Path = RESULTS) -> str:
    """Return the text of the page: `before`, with the sections replaced for which there are results."""
    sections = {
        text.partition("\n")[0]: text for text in re.split(r"^(?=## )", before, flags=re.MULTILINE)[1:]
    }
    for name, render in PARTS.items():
        path = results / f"{name}.json"
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            about = kept["about"]
            measured = f"Measured {about['measured']} on {about['cores']} cores ({about['machine']})."
            lines = [*render(kept["figures"]), measured, ""]
            sections[lines[0]] = "\n".join(lines)
    return HEAD + "\n\n".join(text.strip() for text in sections.values()) + "\n"


def main() -> int:
    """Write the page. An argument is a file with the JSON output of an evaluation."""
    for path in sys.argv[1:]:
        keep("evaluate", json.loads(Path(path).read_text(encoding="utf-8").splitlines()[-1]))
    before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    PAGE.write_text(page(before), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
