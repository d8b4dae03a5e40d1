"""Detects the language of a message by its script and its most common words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

ENGLISH: Final = "en"
CHINESE: Final = "zh"

_HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
HAN_RUN: Final = re.compile(f"[{_HAN}]+")

# The scripts of languages. A script that several languages share stands for the one with the most writers.
_SCRIPTS: Final = {
    "ja": re.compile("[\u3041-\u30ff]"),
    "ko": re.compile("[\u1100-\u11ff\uac00-\ud7af]"),
    "ru": re.compile("[\u0400-\u052f]"),
    "ar": re.compile("[\u0600-\u077f]"),
    "he": re.compile("[\u0590-\u05ff]"),
    "hi": re.compile("[\u0900-\u097f]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "el": re.compile("[\u0370-\u03ff]"),
}
_LATIN: Final = re.compile("[A-Za-z\u00c0-\u024f]")
_HAN_WEIGHT: Final = 3  # a Chinese character says about as much as three letters
_LEAST_KANA: Final = (
    0.1  # of the Han characters: Japanese always has kana, and a Chinese text may have a Japanese name
)

# Words of which most sentences have some, without those as common in another of these languages.
_COMMON: Final = {
    ENGLISH: "the and is of to it you my was that this with for have not are be but your i i'm they we at so had",
    "de": "der die das und ist nicht ich sie mit ein eine den für auf es wir zu dem sehr aber auch wie mir wurde",
    "fr": "le la les et est pas je vous une des du que pour ce dans très mais avec sur nous mon au j'ai c'est ne",
    "es": "el los las y es que por una con para del lo muy pero su al mi está como más no se nada yo fue",
    "pt": "o os as e é não que um uma com para do da em muito mas meu minha foi eu na no se mais isso",
    "it": "il lo gli è che non un una di per con sono ho molto ma mi della del anche questo come e le si",
    "nl": "de het een en van ik niet dat met voor maar zijn op te heb mijn is aan wel ook naar er bij",
}
_LANGUAGES_OF: Final = {
    word: tuple(language for language, words in _COMMON.items() if word in words.split())
    for word in {word for words in _COMMON.values() for word in words.split()}
}
_LEAST_COMMON: Final = 2  # a single one may be a name, or a word of English too


def language_of(text: str, told: Sequence[tuple[str, ...]]) -> str:
    """Return an ISO 639-1 code; English without evidence. `told`: what `told_by` returns, if not empty, for each word.

    >>> language_of("das ist gut", [told_by("das"), told_by("ist")]), language_of("спасибо", [])
    ('de', 'ru')
    """
    if not text.isascii():
        script = _script(text)
        if script is not None:
            return script
    english = sum([ENGLISH in languages for languages in told])
    if english >= len(told) - english:
        return ENGLISH  # half of the words or more are English, so no other language has more
    counts = Counter([language for languages in told for language in languages])
    best, count = ENGLISH, max(english, _LEAST_COMMON - 1)
    for language in _COMMON:
        if counts[language] > count:
            best, count = language, counts[language]
    return best


def told_by(word: str) -> tuple[str, ...]:
    """Return the languages in which a word, in lower case, is common."""
    return _LANGUAGES_OF.get(word, ())


def _script(text: str) -> str | None:
    """Return the language of the script of most of the text; None: Latin, or no letters."""
    han = sum([len(run) for run in HAN_RUN.findall(text)])
    counts = {language: len(letters.findall(text)) for language, letters in _SCRIPTS.items()}
    if counts["ja"] > _LEAST_KANA * han:
        counts["ja"] += han
    counts["ja"] *= _HAN_WEIGHT
    counts[CHINESE] = _HAN_WEIGHT * han
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] > 0 and counts[best] >= len(_LATIN.findall(text)) else None
