"""The sentiment of Chinese text: the lexicon of JioNLP, with rules modelled on those for English.

It has 33,000 words rated from -1.9 to 1.9. The module reads the package's files and never imports it, so its
dependencies are not needed. Text has no spaces: from left to right, the longest known word is taken (maximum matching).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_PACKAGE: Final = "jionlp"

# Everyday words ("thanks", "satisfied") rate 1.1 to 1.5 in JioNLP and 1.6 to 2 in VADER, and one normalization takes
# the sum of both.
_SCALE: Final = 1.5
# As in VADER: the factors of a negation, and of the text before and after "but".
_NEGATION: Final = -0.74
_BUT: Final = (0.5, 1.5)

_NEAR: Final = 4  # characters at most between a negation or a degree and its word
_LONGEST: Final = 8  # characters of a word; the 46 longer entries are proverbs

_CONTRASTS: Final = ("但", "但是", "可是", "不过", "然而")
_STRONGER: Final = "很 太 真 超 超级 非常 特别 极其 十分 最 相当 实在 尤其"
_WEAKER: Final = "有点 有点儿 有些 稍微 略 比较 还算"
_DEGREES: Final = dict.fromkeys(_STRONGER.split(), 1.3) | dict.fromkeys(_WEAKER.split(), 0.7)
_GOOD: Final = "好"  # "good" by itself, and "very" right before a rated word

# "Good or not good": a question that states neither.
_EITHER: Final = re.compile(r"(.)[不没]\1")


class Chinese:
    """The rules and the lexicon. `valences`: own ratings of words, which override the library's; 0: neutral."""

    def __init__(self, valences: Mapping[str, float], negations: Iterable[str]) -> None:
        ratings, lengths, self._simplified = _library()
        self._negations = frozenset(negations)
        others = dict.fromkeys((*self._negations, *_DEGREES, *_CONTRASTS), 0.0)
        self._valences = {**others, **ratings, **valences}
        self._lengths = dict(lengths)
        for word in {*others, *valences}:
            _note(word, self._lengths)

    def simplified(self, text: str) -> str:
        """Replace traditional characters one by one."""
        return text.translate(self._simplified)

    def valence(self, runs: Iterable[str]) -> tuple[float, list[set[int]]]:
        """Return the sum of the valences in some runs of characters, and where the negations of each run end."""
        total, weight = 0.0, 1.0
        ends = []
        for run in runs:
            before, after, contrast, negated = self._run(run)
            if contrast and weight == 1.0:
                total, weight = (total + before) * _BUT[0], _BUT[1]
                before = 0.0
            total += (before + after) * weight
            ends.append(negated)
        return total, ends

    def _run(self, run: str) -> tuple[float, float, bool, set[int]]:
        """Return the sums before and after the first contrast, whether there is one, and where negations end."""
        sums, contrast = [0.0, 0.0], False
        negated: set[int] = set()
        # negations and degrees: where each ends, and its factor
        pending: list[tuple[int, float]] = []
        at = 0
        while at < len(run):
            word = self._word(run, at)
            start, at = at, at + max(1, len(word))
            if not word:
                continue
            if word in _CONTRASTS:
                contrast, pending = True, []
            elif word in self._negations:
                negated.add(at)
                pending.append((at, _NEGATION))
            elif word in _DEGREES or (word == _GOOD and self._valences.get(self._word(run, at))):
                pending.append((at, _DEGREES.get(word, 1.3)))
            elif valence := self._valences[word]:
                sums[contrast] += valence * _factor(pending, start)
                pending = []
        return sums[0], sums[1], contrast, negated

    def _word(self, run: str, at: int) -> str:
        """Return the longest known word that begins at `at`, or ""."""
        for length in self._lengths.get(run[at : at + 1], ()):
            word = run[at : at + length]
            if word in self._valences:
                return word
        return ""


def without_questions(run: str) -> str:
    """Return a run of characters without its questions "A or not A"."""
    return _EITHER.sub("", run)


def _factor(pending: Iterable[tuple[int, float]], start: int) -> float:
    """Return the product of the factors close before `start`; two negations cancel out."""
    factor, negations = 1.0, 0
    for end, times in pending:
        if start - end <= _NEAR:
            if times == _NEGATION:
                negations += 1
            else:
                factor *= times
    return factor * _NEGATION if negations % 2 else factor


def _note(word: str, lengths: dict[str, tuple[int, ...]]) -> None:
    """Add the length of a word to those of the words with its first character, the longest first."""
    known = lengths.get(word[0], ())
    if len(word) not in known:
        lengths[word[0]] = tuple(sorted((*known, len(word)), reverse=True))


@lru_cache(maxsize=1)
def _library() -> tuple[dict[str, float], dict[str, tuple[int, ...]], dict[int, str]]:
    """Return JioNLP's ratings of words on VADER's scale, lengths of words, and traditional to simplified characters."""
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no module named {_PACKAGE!r}", name=_PACKAGE)
    folder = Path(next(iter(spec.submodule_search_locations))) / "dictionary"
    with zipfile.ZipFile(folder / "sentiment_words.zip") as packed:
        lines = packed.read("sentiment_words.txt").decode().splitlines()
    rated = [line.split("\t") for line in lines if line]
    ratings = {word: float(rating) * _SCALE for word, rating in rated if len(word) <= _LONGEST}
    lengths: dict[str, tuple[int, ...]] = {}
    for word in ratings:
        _note(word, lengths)
    characters = (folder / "tra2sim_char.txt").read_text(encoding="utf-8").splitlines()
    simplified = dict(line.split("\t") for line in characters if "\t" in line)
    return ratings, lengths, str.maketrans(simplified)
