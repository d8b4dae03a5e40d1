"""Which language a message is in, by its script and its commonest words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

ENGLISH: Final = "en"
CHINESE: Final = "zh"

_HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
HAN_RUN: Final = re.compile(f"[{_HAN}]+")

# The script of a language that has one of its own, or shares it with others: then the one with most writers.
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
    0.1  # of the Han characters: Japanese is never without, a Chinese text may have a name in it
)

# Words that most sentences have some of, without those that are as common in another of these languages.
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
_LEAST_COMMON: Final = 2  # one alone may be a name, or the same word in English


def language_of(text: str, told: Sequence[tuple[str, ...]]) -> str:
    """An ISO 639-1 code; English where nothing tells. `told`: what `told_by` gives for each word that tells."""
    if not text.isascii():
        script = _script(text)
        if script is not None:
            return script
    english = sum([ENGLISH in languages for languages in told])
    if english >= len(told) - english:
        return ENGLISH  # most words are, so no other language can have more of them
    counts = Counter([language for languages in told for language in languages])
    best, count = ENGLISH, max(english, _LEAST_COMMON - 1)
    for language in _COMMON:
        if counts[language] > count:
            best, count = language, counts[language]
    return best


def told_by(word: str) -> tuple[str, ...]:
    """The languages that a word in lower case speaks for, if any."""
    return _LANGUAGES_OF.get(word, ())


def _script(text: str) -> str | None:
    """The language of the script that most of the text is in; None: Latin, or no letters."""
    han = sum([len(run) for run in HAN_RUN.findall(text)])
    counts = {language: len(letters.findall(text)) for language, letters in _SCRIPTS.items()}
    if counts["ja"] > _LEAST_KANA * han:
        counts["ja"] += han
    counts["ja"] *= _HAN_WEIGHT
    counts[CHINESE] = _HAN_WEIGHT * han
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] > 0 and counts[best] >= len(_LATIN.findall(text)) else None
