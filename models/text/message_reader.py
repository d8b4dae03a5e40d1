"""What a message says: its sentiment, its topics, whether it complains and whether it means to leave.

English by VADER's lexicon (models/text/english.py) and Chinese by JioNLP's (models/text/chinese.py), also within one
message; of other languages the emojis, the emoticons and the phrases that are declared for them. What people correct is
learned (models/text/corrections.py), in whatever language. A reading depends on the text, the declared phrases and the
corrections learned, in their order, and on nothing else.
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

# Characters that are read; of a longer message the beginning is, where people say what they want.
LONGEST: Final = 4096

# Lexicon, constant and |lexicon|: the last two let praise and blame be weighed apart. Two people's ratings of one
# sentence lie about 0.3 apart on a scale of -1 to 1, and what words add may be as much; the constant moves little, as
# one correction should not change how other messages are read.
_RATING: Final = Prior(weights=(1.0, 0.0, 0.0), dense=(0.25, 0.01, 0.25), words=0.1, noise=0.1)
# Phrase found (1) or not (-1), constant, sentiment; the targets are 1 and -1. Words weigh so much that a message
# which was corrected is read as corrected the next time.
_LABEL: Final = Prior(weights=(1.0, 0.0, 0.0), dense=(0.25, 0.1, 0.25), words=1.0, noise=0.5)

_FORMAT: Final = 1
_LARGEST_COUNT: Final = 1 << 53

_MOST_WORDS: Final = 100_000  # kept with what is known of them
_LONGEST_WORD: Final = 64  # characters; what is longer is looked at anew each time


@dataclass(frozen=True, slots=True)
class Reading:
    """`sentiment` from -1 to 1; `topics` in the order they are declared in; `language` by ISO 639-1."""

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
    """A word as it stands in a message -> what is known of it."""

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
class _Sight:
    """What lexicons and phrases say of a message, and what it is made of: words, and runs of characters."""

    sentiment: float
    labels: set[str]
    language: str
    words: list[Word]
    runs: list[str]

    def slots(self) -> list[int]:
        """Of its words; in Chinese and Japanese of its characters, whose pairs are the commonest words."""
        hashes = [word.hash for word in self.words if not word.ends_clause]
        return slots_of(hashes + [zlib.crc32(character.encode()) for run in self.runs for character in run])


class MessageReader:
    """Reads messages, and learns from corrections of what it read."""

    def __init__(self, topics: Topics) -> None:
        self.topics = topics
        self.corrections = 0
        self.ignored = 0  # ratings that were none, and labels that are not declared
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
        """With the phrases of a file; ConfigError names the line to mend."""
        return cls(load_topics(path))

    def read(self, text: str, language: str | None = None) -> Reading:
        """Any text at all, of which LONGEST characters count; `language` where it is known, such as en or zh-TW."""
        return self._reading(self._sight(text, language))

    def complete(self, message: dict[str, Any]) -> Reading | None:
        """Enter what its text says into a social event; what its sender told already stands. None: it has no text."""
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
        """Learn one correction; returns the reading that was given before it."""
        sight = self._sight(correction.text, correction.language)
        before = self._reading(sight)
        slots = sight.slots()
        rating = correction.sentiment
        if rating is not None:
            if -1.0 <= rating <= 1.0:  # false for NaN
                self._head(SENTIMENT).learn(_told(sight), slots, rating)
            else:
                self.ignored += 1
        for label, is_so in sorted(correction.labels.items()):
            if label in self.topics.labels:
                self._head(label).learn(_found(sight, label), slots, 1.0 if is_so else -1.0)
            else:
                self.ignored += 1
        self.corrections += 1
        return before

    def state(self) -> bytes:
        """Plain data (MessagePack) from which `restore` goes on bit for bit."""
        heads = {name: self._heads[name].state() for name in sorted(self._heads)}
        return msgspec.msgpack.encode(_State(_FORMAT, self.corrections, self.ignored, heads))

    @classmethod
    def restore(cls, state: bytes, topics: Topics) -> MessageReader:
        """Go on from `state`; what was learned of a topic that is gone goes. Raises Poison where it is none of ours."""
        try:
            known = msgspec.msgpack.decode(state, type=_State)
            if known.format != _FORMAT:
                raise ValueError(f"expected format {_FORMAT}, got {known.format}")
            if not (0 <= known.corrections <= _LARGEST_COUNT and 0 <= known.ignored <= _LARGEST_COUNT):
                raise ValueError("a count is below 0 or absurd")
            heads = {name: Head.restore(head, _prior(name)) for name, head in known.heads.items()}
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise Poison(f"not the state of a reader: {error}") from error
        reader = cls(topics)
        reader.corrections, reader.ignored = known.corrections, known.ignored
        wanted = {SENTIMENT, *topics.labels}
        reader._heads = {name: head for name, head in heads.items() if name in wanted}
        return reader

    def _sight(self, text: str, language: str | None) -> _Sight:
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
        return _Sight(sentiment, labels, language, words, runs)

    def _reading(self, sight: _Sight) -> Reading:
        sentiment, labels = sight.sentiment, sight.labels
        heads = self._heads
        slots = sight.slots() if heads else []
        if SENTIMENT in heads:
            told = heads[SENTIMENT].predict(_told(sight), slots)
            sentiment = min(max(told, -1.0), 1.0)
        for label in heads:
            if label != SENTIMENT:
                is_so = heads[label].predict(_found(sight, label), slots) > 0.0
                labels = labels | {label} if is_so else labels - {label}
        topics = tuple([topic for topic in self.topics.topics if topic in labels]) if labels else ()
        return Reading(sentiment, topics, COMPLAINT in labels, CHURN_INTENT in labels, sight.language)

    def _raised(self, sentiment: float, labels: set[str]) -> set[str]:
        """The flags that a topic and a sentiment raise without a phrase of their own."""
        if labels.isdisjoint(self.topics.topics):
            return set()
        return {flag for flag, bound in self.topics.below.items() if sentiment < bound}

    def _head(self, name: str) -> Head:
        if name not in self._heads:
            self._heads[name] = Head(_prior(name))
        return self._heads[name]


def _prior(name: str) -> Prior:
    return _RATING if name == SENTIMENT else _LABEL


def _told(sight: _Sight) -> tuple[float, float, float]:
    return sight.sentiment, 1.0, math.fabs(sight.sentiment)


def _found(sight: _Sight, label: str) -> tuple[float, float, float]:
    return (1.0 if label in sight.labels else -1.0), 1.0, sight.sentiment
