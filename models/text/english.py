"""The sentiment of English text: the rules and the lexicon of VADER, implemented for speed.

Hutto and Gilbert 2014, VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text. The
lexicon, the lists of words and the constants are the library's. The rules are written anew, because the library looks
at each word of a message a few hundred times. The tests use the library as their oracle: both give the same compound
for every text.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from vaderSentiment.vaderSentiment import (
    BOOSTER_DICT,
    C_INCR,
    N_SCALAR,
    NEGATE,
    SPECIAL_CASES,
    SentimentIntensityAnalyzer,
    normalize,
)

# Size of the cache of words; a stream brings ever new ones (names, numbers, addresses).
_MOST_WORDS: Final = 100_000
_LONGEST_WORD: Final = 64  # characters; longer words are not cached

_SO: Final = ("so", "this")
# The factors of a booster 1, 2 and 3 words before the word it boosts.
_FADING: Final = (1.0, 0.95, 0.9)
_BUT: Final = (0.5, 1.5)  # factors before and after the first "but"

_MOST_EXCLAMATIONS: Final = 4
_EXCLAMATION: Final = 0.292
_QUESTION: Final = 0.18
_MANY_QUESTIONS: Final = 0.96  # more than three


class _Word:
    """A word with the properties that the rules need."""

    __slots__ = ("booster", "known", "lower", "negates", "upper", "valence")

    def __init__(self, item: str, lexicon: dict[str, float]) -> None:
        self.lower = item.lower()
        self.upper = item.isupper()
        self.booster: float = BOOSTER_DICT.get(self.lower, 0.0)
        self.known = self.lower in lexicon
        # A booster has no valence of its own, whatever the lexicon says.
        self.valence = None if self.lower in BOOSTER_DICT else lexicon.get(self.lower)
        self.negates = self.lower in NEGATE or "n't" in self.lower


class _Words(dict[str, _Word]):
    """A cache: the text between two spaces -> its word."""

    def __init__(self, lexicon: dict[str, float]) -> None:
        super().__init__()
        self.lexicon = lexicon

    def __missing__(self, token: str) -> _Word:
        stripped = token.strip(string.punctuation)
        # Two characters or fewer: the token is an emoticon, made of punctuation only.
        word = _Word(token if len(stripped) <= 2 else stripped, self.lexicon)
        if len(token) <= _LONGEST_WORD:
            if len(self) >= _MOST_WORDS:
                self.clear()
            self[token] = word
        return word


class English:
    """The rules, with the library's lexicon and emojis."""

    def __init__(self) -> None:
        library = SentimentIntensityAnalyzer()
        self.lexicon: dict[str, float] = library.lexicon
        # The library looks at single characters, so it never finds emojis of several.
        self._emojis: dict[str, str] = {key: name for key, name in library.emojis.items() if len(key) == 1}
        self._emoji = re.compile(f"[{re.escape(''.join(self._emojis))}]")
        self._words = _Words(self.lexicon)

    def spelled(self, text: str) -> str:
        """Return the text with each emoji replaced by its name in English words."""
        return (text if text.isascii() else self._emoji.sub(self._name, text)).strip()

    def signs(self, text: str) -> str:
        """Return only the emojis, by name, and the emoticons, which mean the same in any language."""
        names = [self._emojis[sign] for sign in self._emoji.findall(text)]
        tokens = self._emoji.sub(" ", text).split()
        emoticons = [token for token in tokens if not token.isalpha() and token.lower() in self.lexicon]
        return " ".join(names + emoticons)

    def valence(self, spelled: str) -> float:
        """Return the sum of the valences of the words, without punctuation and not normalized."""
        words = [*map(self._words.__getitem__, spelled.split())]
        found = [(at, word) for at, word in enumerate(words) if word.valence is not None]
        if not found:
            return 0.0
        capitals = sum([word.upper for word in words])
        some_capitals = 0 < capitals < len(words)
        last = len(words) - 1
        places, valences = [], []
        for at, word in found:
            if not (word.lower == "kind" and at < last and words[at + 1].lower == "of"):
                places.append(at)
                valences.append(_valence(words, at, some_capitals))
        for at, word in enumerate(words):
            if word.lower == "but":
                _weigh_but(places, valences, at)
                break
        return float(sum(valences))

    def compound(self, valence: float, spelled: str) -> float:
        """Add the emphasis of exclamation and question marks, and normalize to [-1, 1], 4 digits."""
        if valence:
            questions = spelled.count("?")
            emphasis = min(spelled.count("!"), _MOST_EXCLAMATIONS) * _EXCLAMATION
            if questions > 1:
                emphasis += questions * _QUESTION if questions <= 3 else _MANY_QUESTIONS
            valence += emphasis if valence > 0 else -emphasis
        return float(round(normalize(valence), 4))

    def _name(self, match: re.Match[str]) -> str:
        start = match.start()
        space = "" if start == 0 or match.string[start - 1] == " " else " "
        return space + self._emojis[match.group()]


@lru_cache(maxsize=1)
def english() -> English:
    """Return the shared instance. Its cache depends only on the lexicon, which takes 15 ms to read."""
    return English()


def _valence(words: Sequence[_Word], at: int, some_capitals: bool) -> float:
    """Return the valence of the word at `at`, given the words around it."""
    word = words[at]
    valence = own = word.valence or 0.0
    if word.lower == "no" and at < len(words) - 1 and words[at + 1].known:
        valence = 0.0  # it negates the next word and has no valence itself
    if (
        (at > 0 and words[at - 1].lower == "no")
        or (at > 1 and words[at - 2].lower == "no")
        or (at > 2 and words[at - 3].lower == "no" and words[at - 1].lower in ("or", "nor"))
    ):
        valence = own * N_SCALAR
    if word.upper and some_capitals:
        valence += C_INCR if valence > 0 else -C_INCR
    for back in range(min(at, 3)):
        before = words[at - back - 1]
        if before.known:
            continue
        if before.booster:
            valence += _boost(before, valence, some_capitals) * _FADING[back]
        valence = _negated(words, at, back, valence)
        if back == 2:
            valence = _idiom(words, at, valence)
    if at > 0 and words[at - 1].lower == "least" and not words[at - 1].known:  # noqa: SIM102
        if at == 1 or words[at - 2].lower not in ("at", "very"):
            valence *= N_SCALAR
    return valence


def _boost(booster: _Word, valence: float, some_capitals: bool) -> float:
    boost = booster.booster if valence >= 0 else -booster.booster
    if booster.upper and some_capitals:
        boost += C_INCR if valence > 0 else -C_INCR
    return boost


def _negated(words: Sequence[_Word], at: int, back: int, valence: float) -> float:
    """Apply the negation, if any, by the word `back` + 1 before the one at `at`."""
    before = words[at - back - 1]
    if back == 1:
        next_one = words[at - 1].lower
        if before.lower == "never" and next_one in _SO:
            return valence * 1.25
        if before.lower == "without" and next_one == "doubt":
            return valence
    elif back == 2:
        second, first = words[at - 2].lower, words[at - 1].lower
        # as in the library, which requires the "never" only for the word farther from `at`
        if (before.lower == "never" and second in _SO) or first in _SO:
            return valence * 1.25
        if before.lower == "without" and "doubt" in (second, first):
            return valence
    return valence * N_SCALAR if before.negates else valence


def _idiom(words: Sequence[_Word], at: int, valence: float) -> float:
    """Apply idioms, whose meaning differs from their words; `at` needs three words or more before it."""
    three, two, one, here = [word.lower for word in words[at - 3 : at + 1]]
    for phrase in (
        f"{one} {here}",
        f"{two} {one} {here}",
        f"{two} {one}",
        f"{three} {two} {one}",
        f"{three} {two}",
    ):
        if phrase in SPECIAL_CASES:
            valence = SPECIAL_CASES[phrase]
            break
    after = [word.lower for word in words[at + 1 : at + 3]]
    for count in range(1, len(after) + 1):
        valence = SPECIAL_CASES.get(" ".join([here, *after[:count]]), valence)
    for phrase in (f"{three} {two} {one}", f"{three} {two}", f"{two} {one}"):
        valence += BOOSTER_DICT.get(phrase, 0.0)
    return valence


def _weigh_but(places: Sequence[int], valences: list[float], but: int) -> None:
    """Weight the valences before and after the word "but", in place.

    Like the library, it always takes the first of equal valences, whether or not it was weighted already.
    """
    for at in range(len(valences)):
        first = valences.index(valences[at])
        if places[first] != but:
            valences[first] *= _BUT[places[first] > but]
