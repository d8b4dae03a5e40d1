"""What `config/phrases.yaml` declares, the phrases of each topic and flag by language; and the search for them.

    negations: {en: [not, no], zh: [不, 没]}       # invert a flag's phrase that follows closely
    valences: {zh: {差: -2}}                        # words that the lexicon lacks, on its scale of -4 to 4
    topics:
      delivery: {en: [deliver*, parcel], zh: [快递]}
    flags:                                          # complaint and churn_intent
      complaint: {below: -0.4, en: [want a refund], zh: [投诉]}

A phrase matches whole words in any case; `*` at the end of a word stands for any ending. A phrase of Chinese
characters matches anywhere. A flag's phrase does not count if a negation comes up to three words, or three characters,
before it in the same clause. `below`: a message on any topic also raises the flag if its sentiment, by the lexicons, is
below this number.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from config.located_yaml import LocatedMapping, load

from .language import CHINESE, ENGLISH, HAN_RUN, told_by

COMPLAINT: Final = "complaint"
CHURN_INTENT: Final = "churn_intent"
FLAGS: Final = (COMPLAINT, CHURN_INTENT)
SENTIMENT: Final = "sentiment"
_RESERVED: Final = (*FLAGS, SENTIMENT)  # names that corrections use besides topics

# Words with their apostrophes, the marks that end a clause, and single signs such as emojis.
WORDS: Final = re.compile(r"\w+(?:['’]\w+)*|[.,;:!?\n]|[^\x00-\x7f\s\ufe0f\u200d]")
_ENDS: Final = frozenset(".,;:!?…\n。，；：！？、")
# These words begin a clause of their own, even without a mark: "if this isn't fixed I'm leaving".
_BEGINS: Final = frozenset(f"{who}'{verb}" for who in ("i", "we") for verb in ("m", "re", "ll", "ve", "d"))

_NEAR: Final = 3  # words, or Chinese characters, between a negation and the phrase it negates
_STRONGEST: Final = 4.0  # the end of VADER's scale
_LANGUAGE: Final = re.compile("[a-z]{2}")
_PHRASE: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)*\*?(?: [^\W_]+(?:'[^\W_]+)*\*?)*")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A declared phrase. `words` in lower case; in Chinese one run of characters."""

    label: str
    language: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Topics:
    """The validated file. `below`: flag -> the sentiment below which a message on a topic raises it."""

    topics: tuple[str, ...]
    phrases: tuple[Phrase, ...]
    negations: Mapping[str, tuple[str, ...]]
    valences: Mapping[str, Mapping[str, float]]
    below: Mapping[str, float]

    @property
    def labels(self) -> tuple[str, ...]:
        return *FLAGS, *self.topics


def load_topics(path: str | Path) -> Topics:
    """Read the file; a ConfigError names the line to correct and what was expected there.

    >>> from config.settings import Settings
    >>> load_topics(Settings().config / "phrases.yaml").labels[:4]
    ('complaint', 'churn_intent', 'delivery', 'quality')
    """
    top = load(path)
    top.expect({"negations", "valences", "topics", "flags"}, {"topics", "flags"})
    topics, flags = _mapping(top, "topics"), _mapping(top, "flags")
    flags.expect(set(FLAGS), set(FLAGS))
    phrases: list[Phrase] = []
    below: dict[str, float] = {}
    for part in (topics, flags):
        for label in part:
            if part is topics and (not label.isidentifier() or label in _RESERVED):
                raise part.error(
                    f"topic {label!r}: expected another name of letters, digits and underscores", label
                )
            lists = _mapping(part, label)
            if part is flags and "below" in lists:
                below[label] = _number(lists, "below", 1.0)
            for language in lists:
                if part is topics or language != "below":
                    words = _phrases(lists, language)
                    phrases += [Phrase(label, language, tuple(phrase.split(" "))) for phrase in words]
    negations = _mapping(top, "negations") if "negations" in top else LocatedMapping()
    valences = _mapping(top, "valences") if "valences" in top else LocatedMapping()
    if valences:
        valences.expect({CHINESE})
    return Topics(
        topics=tuple(topics),
        phrases=tuple(phrases),
        negations={language: _phrases(negations, language) for language in negations},
        valences={language: _valences(_mapping(valences, language)) for language in valences},
        below=below,
    )


def _mapping(top: LocatedMapping, key: str) -> LocatedMapping:
    value = top[key]
    if not isinstance(value, LocatedMapping) or not value:
        raise top.error(f"{key}: expected a mapping, got {value!r}", key)
    return value


def _phrases(lists: LocatedMapping, language: str) -> tuple[str, ...]:
    if not _LANGUAGE.fullmatch(language):
        raise lists.error(f"expected a language such as en or zh, got {language!r}", language)
    values = lists[language]
    if not isinstance(values, list) or not values:
        raise lists.error(f"{language}: expected a list of phrases, got {values!r}", language)
    return tuple(_phrase(value, lists, language) for value in values)


def _phrase(value: Any, lists: LocatedMapping, language: str) -> str:
    phrase = str(value).lower().replace("’", "'")
    if language == CHINESE and isinstance(value, str) and HAN_RUN.fullmatch(phrase):
        return phrase
    if language == CHINESE or not isinstance(value, str) or not _PHRASE.fullmatch(phrase):
        what = (
            "Chinese characters only"
            if language == CHINESE
            else "words with one space between, each may end in *"
        )
        raise lists.error(f"{language}: expected {what}, got {value!r}", language)
    return phrase


def _valences(words: LocatedMapping) -> dict[str, float]:
    for word in words:
        if not HAN_RUN.fullmatch(word):
            raise words.error(f"expected Chinese characters only, got {word!r}", word)
    return {word: _number(words, word, _STRONGEST) for word in words}


def _number(part: LocatedMapping, key: str, largest: float) -> float:
    value = part[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.fabs(value) <= largest:
        raise part.error(f"{key}: expected a number from {-largest:g} to {largest:g}, got {value!r}", key)
    return float(value)


class Word:
    """A word of a message, or the mark that ends a clause, with its cached properties.

    `phrases`: those that may begin with it; `languages`: those in which it is common; `hash`: its key for learning.
    """

    __slots__ = ("ends_clause", "hash", "languages", "lower", "negates", "phrases")

    def __init__(self, lower: str, negates: bool, phrases: tuple[Phrase, ...]) -> None:
        self.lower, self.negates, self.phrases = lower, negates, phrases
        self.ends_clause = lower in _ENDS
        self.hash = zlib.crc32(lower.encode("utf-8", "surrogatepass"))
        self.languages = told_by(lower)


class Phrases:
    """The declared phrases, indexed for the search."""

    def __init__(self, topics: Topics, simplified: Mapping[str, str]) -> None:
        """`simplified`: Chinese phrases as declared -> in simplified characters."""
        self._exact: dict[str, list[Phrase]] = {}
        self._stems: dict[str, list[Phrase]] = {}
        self._chinese: dict[str, list[tuple[str, str]]] = {}
        # The longest first, because a match consumes its words.
        for phrase in sorted(topics.phrases, key=lambda phrase: -len(phrase.words)):
            first = phrase.words[0]
            if phrase.language == CHINESE:
                run = simplified[first]
                self._chinese.setdefault(run[0], []).append((run, phrase.label))
            elif first.endswith("*"):
                self._stems.setdefault(first[:-1], []).append(phrase)
            else:
                self._exact.setdefault(first, []).append(phrase)
        for runs in self._chinese.values():
            runs.sort(key=lambda found: -len(found[0]))

    def beginning(self, word: str) -> tuple[Phrase, ...]:
        """Return the phrases that may begin with `word`, the longest first."""
        found = list(self._exact.get(word, ()))
        for length in range(1, len(word) + 1):
            found += self._stems.get(word[:length], ())
        return tuple(sorted(found, key=lambda phrase: -len(phrase.words)))

    def find(self, words: Sequence[Word], language: str) -> set[str]:
        """Return the labels of the phrases in `words`: those of `language`, and English ones in a Chinese message."""
        labels: set[str] = set()
        taken: dict[str, int] = {}  # label -> the end of its last match
        for at, phrases in [(at, word.phrases) for at, word in enumerate(words) if word.phrases]:
            for phrase in phrases:
                mine = phrase.language == language or (phrase.language == ENGLISH and language == CHINESE)
                if not mine or taken.get(phrase.label, 0) > at or not _fits(phrase.words, words, at):
                    continue
                taken[phrase.label] = at + len(phrase.words)
                if phrase.label not in FLAGS or not _negated(words, at):
                    labels.add(phrase.label)
        return labels

    def find_chinese(self, run: str, negated: Set[int]) -> set[str]:
        """Return the labels of the phrases in a run of simplified characters; `negated`: the ends of its negations."""
        labels: set[str] = set()
        taken: dict[str, int] = {}
        for at, character in enumerate(run):
            for phrase, label in self._chinese.get(character, ()):
                if taken.get(label, 0) > at or not run.startswith(phrase, at):
                    continue
                taken[label] = at + len(phrase)
                if label not in FLAGS or negated.isdisjoint(range(at - _NEAR, at + 1)):
                    labels.add(label)
        return labels


def _fits(pattern: Sequence[str], words: Sequence[Word], at: int) -> bool:
    if at + len(pattern) > len(words):
        return False
    for offset in range(1, len(pattern)):
        wanted, word = pattern[offset], words[at + offset].lower
        if not (word.startswith(wanted[:-1]) if wanted.endswith("*") else word == wanted):
            return False
    return True


def _negated(words: Sequence[Word], at: int) -> bool:
    for before in range(at - 1, max(at - 1 - _NEAR, 0) - 1, -1):
        if words[before].negates:
            return True
        if words[before].ends_clause or words[before].lower in _BEGINS:
            return False
    return False
