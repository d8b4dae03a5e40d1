"""Reads a message: its sentiment, its topics, and whether it is a complaint or shows churn intent.

The lexicon of VADER reads English (models/text/english.py) and that of JioNLP Chinese (models/text/chinese.py), also
within one message. In other languages it reads emojis, emoticons and the phrases declared for them. It learns from
people's corrections (models/text/corrections.py) in any language. A reading depends on the text, the declared phrases
and the corrections learned, in their order, and on nothing else.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.errors import Poison

from .chinese import Chinese, without_questions
from .corrections import Correction, Head, HeadState, Prior, slots_of
from .english import english
from .language import CHINESE, ENGLISH, HAN_RUN, language_of
from .phrases import CHURN_INTENT, COMPLAINT, SENTIMENT, WORDS, Phrases, Topics, Word, load_topics

# Characters to read. Of a longer message it reads the beginning, where people say what they want.
LONGEST: Final = 4096

# The inputs are lexicon, constant and |lexicon|; the last two allow different weights for praise and blame. Two
# people's ratings of one sentence differ by about 0.3 on a scale of -1 to 1, and words may add as much. The constant
# moves little, because one correction should not change the readings of other messages.
_RATING: Final = Prior(weights=(1.0, 0.0, 0.0), dense=(0.25, 0.01, 0.25), words=0.1, noise=0.1)
# The inputs are phrase found (1) or not (-1), constant and sentiment; the targets are 1 and -1. Words weigh so much
# that a corrected message is read as corrected the next time.
_LABEL: Final = Prior(weights=(1.0, 0.0, 0.0), dense=(0.25, 0.1, 0.25), words=1.0, noise=0.5)

_FORMAT: Final = 1
_LARGEST_COUNT: Final = 1 << 53

_MOST_WORDS: Final = 100_000  # in the cache
_LONGEST_WORD: Final = 64  # characters; longer words are not cached


@dataclass(frozen=True, slots=True)
class Reading:
    """The reading of a message. `sentiment` from -1 to 1; `topics` in declared order; `language` by ISO 639-1."""

    sentiment: float
    topics: tuple[str, ...]
    complaint: bool
    churn_intent: bool
    language: str


class _State(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    corrections: int
    ignored: int
    heads: dict[str, HeadState]


class _Words(dict[str, Word]):
    """A cache: a word as it occurs in a message -> its `Word`."""

    def __init__(self, phrases: Phrases, negations: frozenset[str]) -> None:
        super().__init__()
        self.phrases, self.negations = phrases, negations

    def __missing__(self, token: str) -> Word:
        lower = token.lower().replace("’", "'")
        negates = lower in self.negations or lower.endswith("n't")
        word = Word(lower, negates, self.phrases.beginning(lower[:_LONGEST_WORD]))
        if len(token) <= _LONGEST_WORD:
            if len(self) >= _MOST_WORDS:
                self.clear()
            self[token] = word
        return word


@dataclass(frozen=True, slots=True)
class _Features:
    """What lexicons and phrases find in a message, with its words and runs of Chinese characters."""

    sentiment: float
    labels: set[str]
    language: str
    words: list[Word]
    runs: list[str]

    def slots(self) -> list[int]:
        """Return the slots of its words, and of Chinese and Japanese characters, whose pairs are most words."""
        hashes = [word.hash for word in self.words if not word.ends_clause]
        return slots_of(hashes + [zlib.crc32(character.encode()) for run in self.runs for character in run])


class MessageReader:
    """Reads messages, and learns from corrections of what it read."""

    def __init__(self, topics: Topics) -> None:
        self.topics = topics
        self.corrections = 0
        self.ignored = 0  # ratings that are not valid, and labels that are not declared
        negations = topics.negations
        self._english = english()
        self._chinese = Chinese(topics.valences.get(CHINESE, {}), negations.get(CHINESE, ()))
        chinese = [phrase.words[0] for phrase in topics.phrases if phrase.language == CHINESE]
        phrases = Phrases(topics, {run: self._chinese.simplified(run) for run in chinese})
        others = [word for language in negations if language != CHINESE for word in negations[language]]
        self._phrases, self._words = phrases, _Words(phrases, frozenset(others))
        self._heads: dict[str, Head] = {}

    @classmethod
    def of(cls, path: str | Path) -> MessageReader:
        """Make a reader with the phrases of a file; a ConfigError names the line to correct."""
        return cls(load_topics(path))

    def read(self, text: str, language: str | None = None) -> Reading:
        """Read any text, up to LONGEST characters; `language`, if known, is a code such as en or zh-TW."""
        return self._reading(self._features(text, language))

    def complete(self, message: dict[str, Any]) -> Reading | None:
        """Add the reading of its text to a social event, except to fields already set; return None without text."""
        text = message.get("text")
        if not text:
            return None
        reading = self.read(text)
        if message.get("sentiment") is None:
            message["sentiment"] = reading.sentiment
        if not message.get("topics"):
            message["topics"] = list(reading.topics)
        message[COMPLAINT] = message.get(COMPLAINT) or reading.complaint
        message[CHURN_INTENT] = message.get(CHURN_INTENT) or reading.churn_intent
        return reading

    def learn(self, correction: Correction) -> Reading:
        """Learn one correction; return the reading before it."""
        features = self._features(correction.text, correction.language)
        before = self._reading(features)
        slots = features.slots()
        rating = correction.sentiment
        if rating is not None:
            if -1.0 <= rating <= 1.0:  # false for NaN
                self._head(SENTIMENT).learn(_rating_inputs(features), slots, rating)
            else:
                self.ignored += 1
        for label, is_so in sorted(correction.labels.items()):
            if label in self.topics.labels:
                self._head(label).learn(_label_inputs(features, label), slots, 1.0 if is_so else -1.0)
            else:
                self.ignored += 1
        self.corrections += 1
        return before

    def state(self) -> bytes:
        """Return plain data (MessagePack) from which `restore` continues bit for bit."""
        heads = {name: self._heads[name].state() for name in sorted(self._heads)}
        return msgspec.msgpack.encode(_State(_FORMAT, self.corrections, self.ignored, heads))

    @classmethod
    def restore(cls, state: bytes, topics: Topics) -> MessageReader:
        """Continue from `state`, without the topics no longer declared; raise Poison if it is not valid."""
        try:
            known = msgspec.msgpack.decode(state, type=_State)
            if known.format != _FORMAT:
                raise ValueError(f"expected format {_FORMAT}, got {known.format}")
            if not (0 <= known.corrections <= _LARGEST_COUNT and 0 <= known.ignored <= _LARGEST_COUNT):
                raise ValueError("a count is negative or too large")
            heads = {name: Head.restore(head, _prior(name)) for name, head in known.heads.items()}
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise Poison(f"not the state of a reader: {error}") from error
        reader = cls(topics)
        reader.corrections, reader.ignored = known.corrections, known.ignored
        wanted = {SENTIMENT, *topics.labels}
        reader._heads = {name: head for name, head in heads.items() if name in wanted}
        return reader

    def _features(self, text: str, language: str | None) -> _Features:
        text = text[:LONGEST]
        runs: list[str] = []
        latin = text
        if not text.isascii():
            runs = HAN_RUN.findall(text)
            latin = HAN_RUN.sub(" ", text) if runs else text
        words = [*map(self._words.__getitem__, WORDS.findall(latin))]
        if language is None:
            language = language_of(text, [word.languages for word in words if word.languages])
        else:
            language = language.lower().replace("_", "-").partition("-")[0]
        labels = self._phrases.find(words, language)
        if language not in (ENGLISH, CHINESE):
            spelled = self._english.signs(text)
            valence = self._english.valence(spelled)
        else:
            spelled = self._english.spelled(latin)
            valence = self._english.valence(spelled)
            if runs:
                runs = [without_questions(self._chinese.simplified(run)) for run in runs]
                said, ends = self._chinese.valence(runs)
                valence += said
                spelled = spelled.replace("！", "!").replace("？", "?")
                for run, negated in zip(runs, ends, strict=True):
                    labels |= self._phrases.find_chinese(run, negated)
        sentiment = self._english.compound(valence, spelled)
        if labels and sentiment < 0.0:
            labels |= self._raised(sentiment, labels)
        return _Features(sentiment, labels, language, words, runs)

    def _reading(self, features: _Features) -> Reading:
        sentiment, labels = features.sentiment, features.labels
        heads = self._heads
        slots = features.slots() if heads else []
        if SENTIMENT in heads:
            rating = heads[SENTIMENT].predict(_rating_inputs(features), slots)
            sentiment = min(max(rating, -1.0), 1.0)
        for label in heads:
            if label != SENTIMENT:
                is_so = heads[label].predict(_label_inputs(features, label), slots) > 0.0
                labels = labels | {label} if is_so else labels - {label}
        topics = tuple([topic for topic in self.topics.topics if topic in labels]) if labels else ()
        return Reading(sentiment, topics, COMPLAINT in labels, CHURN_INTENT in labels, features.language)

    def _raised(self, sentiment: float, labels: set[str]) -> set[str]:
        """Return the flags that a topic and a sentiment raise without a phrase of their own."""
        if labels.isdisjoint(self.topics.topics):
            return set()
        return {flag for flag, bound in self.topics.below.items() if sentiment < bound}

    def _head(self, name: str) -> Head:
        if name not in self._heads:
            self._heads[name] = Head(_prior(name))
        return self._heads[name]


def _prior(name: str) -> Prior:
    return _RATING if name == SENTIMENT else _LABEL


def _rating_inputs(features: _Features) -> tuple[float, float, float]:
    return features.sentiment, 1.0, math.fabs(features.sentiment)


def _label_inputs(features: _Features, label: str) -> tuple[float, float, float]:
    return (1.0 if label in features.labels else -1.0), 1.0, features.sentiment
