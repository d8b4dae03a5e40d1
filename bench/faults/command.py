"""Injects faults of every kind under load and measures what they cost.

    streamwise bench faults --seeds N [--first-seed S] --json

Each seed starts a whole installation (`bench.faults.installation`), sends it events at a steady pace
(`bench.faults.load`) and injects the faults of its schedule (`bench.faults.schedule`). Afterwards an undisturbed pass
over the same topics computes what should be there (`bench.faults.oracle`, `bench.faults.comparison`).
`bench.faults.progress` says how the longest gap is measured, `bench.faults.injector` how each fault is injected.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context

from bench.harness import ROOT, keep, say
from bench.servers import Missing, ServerError, end_on_sigterm

from . import trial
from .schedule import KINDS, LENGTH_S, draw

LOGS = ROOT / ".bench" / "faults"


def main(argv: list[str] | None = None) -> int:
    """Print progress on standard error and the figures as one JSON line on standard output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=1, help="the first seed (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=LENGTH_S, help="seconds of load for each seed (default: %(default)s)"
    )
    parser.add_argument(
        "--rate", type=int, default=trial.RATE, help="events per second (default: %(default)s)"
    )
    parser.add_argument("--kinds", default=",".join(KINDS), help="draw only from these kinds of faults")
    parser.add_argument(
        "--jobs", type=int, default=1, help="seeds run at the same time (default: %(default)s)"
    )
    parser.add_argument("--weakness", default="", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="(always on: the last line is JSON)")
    given = parser.parse_args(argv)
    kinds = tuple(given.kinds.split(","))
    if unknown := sorted(set(kinds) - KINDS.keys()):
        parser.error(f"--kinds: unknown {', '.join(unknown)}; expected some of {', '.join(KINDS)}")
    one = partial(_one, kinds=kinds, length_s=given.seconds, rate=given.rate, weakness=given.weakness)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    if given.jobs > 1:
        outcomes = side_by_side(one, seeds, given.jobs)
    else:
        outcomes = list(map(one, seeds))
    figures = {**trial.total(outcomes), "jobs": given.jobs}
    if not given.weakness:
        keep("faults", figures)
    print(json.dumps(figures), flush=True)
    return 0 if all(outcome.differences.none and not outcome.error for outcome in outcomes) else 1


def side_by_side(one: Callable[[int], trial.Outcome], seeds: Sequence[int], jobs: int) -> list[trial.Outcome]:
    """Run `jobs` seeds at a time; when this process ends, running seeds end with their servers."""
    with get_context("spawn").Pool(
        jobs, end_on_sigterm
    ) as pool:  # its exit terminates the pool in every case
        outcomes = pool.map(one, seeds, chunksize=1)
        pool.close()
        pool.join()  # otherwise the exit terminates workers that are ending, and they print a trace
    return outcomes


def _one(seed: int, *, kinds: tuple[str, ...], length_s: float, rate: int, weakness: str) -> trial.Outcome:
    """Run one seed and report it. Keep its logs if something is wrong. A failure does not stop the other seeds."""
    logs = LOGS / f"seed-{seed}"
    shutil.rmtree(logs, ignore_errors=True)
    faults = draw(seed, length_s=length_s, kinds=kinds)
    say(f"seed {seed}: {len(faults)} faults")
    try:
        outcome = trial.run(seed, faults, logs, length_s=length_s, rate=rate, weakness=weakness)
    except Missing:  # no other seed can run either
        raise
    except (RuntimeError, ServerError) as error:
        outcome = trial.Outcome(seed, error=str(error))
        say(f"seed {seed} could not be carried out: {error}")
    for line in outcome.differences.told:
        say(f"seed {seed}: {line}")
    say(f"seed {seed}: {outcome.seconds:.0f} s, {json.dumps(trial.total([outcome]))}")
    if outcome.differences.none and not outcome.error:
        shutil.rmtree(logs, ignore_errors=True)
    else:
        say(f"seed {seed} failed; logs are in {logs.relative_to(ROOT)}")
    return outcome
