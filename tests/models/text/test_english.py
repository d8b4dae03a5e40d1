"""models/text/english.py: the compound that VADER itself gives, for every text."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vaderSentiment.vaderSentiment import BOOSTER_DICT, NEGATE, SPECIAL_CASES, SentimentIntensityAnalyzer

from models.text.english import English

ENGLISH = English()
VADER = SentimentIntensityAnalyzer()

# What the rules ask for, and a few words that they do not.
RULES = [*BOOSTER_DICT, *NEGATE, *(word for phrase in SPECIAL_CASES for word in phrase.split())]
_OTHERS = "no nor or but so this never without doubt least at very kind of sort the table good great! bad"
RULES += _OTHERS.split()
RULES += [
    "don't",
    "!!",
    "?",
    "??",
    "???",
    "????",
    ":)",
    "<3",
    "😀",
    "💘",
    "the😁",
    "😁😁",
    " ",
    "\ud800",
    "漢字",
    "ẞ",
    "İ",
]
RULES += random.Random(5).sample(sorted(VADER.lexicon), 200)


def compound(text: str) -> float:
    spelled = ENGLISH.spelled(text)
    return ENGLISH.compound(ENGLISH.valence(spelled), spelled)


def agrees(text: str) -> bool:
    return bool(compound(text) == VADER.polarity_scores(text)["compound"])


@pytest.mark.parametrize(
    "text",
    [
        "VADER is VERY SMART, uber handsome, and FRIGGIN FUNNY!!!",
        "At least it isn't a horrible book.",
        "Today only kinda sux! But I'll get by, lol",
        "The plot was good, but the characters are uncompelling and the dialog is not great.",
        "Sentiment analysis has never been this good!",
        "Roger Dodger is one of the least compelling variations on this theme.",
        "Without a doubt, excellent idea.",
        "No problem or no good nor bad, it is the shit and the bomb, yeah right",
        "bad but bad but bad but good good good BAD",
        "great😀great 😁 :D",
        "",
        " ",
    ],
)
def test_it_agrees_with_the_library(text: str) -> None:
    assert agrees(text)


@settings(max_examples=1500, deadline=None)
@given(
    st.lists(st.sampled_from(RULES).flatmap(lambda word: st.sampled_from([word, word.upper()])), max_size=14)
)
def test_it_agrees_on_what_the_rules_are_about(words: list[str]) -> None:
    assert agrees(" ".join(words))


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec=None), max_size=200))
def test_it_agrees_on_any_text(text: str) -> None:
    assert agrees(text)


def test_signs_are_what_means_the_same_in_any_language() -> None:
    assert ENGLISH.signs("die Lieferung war gut :) 😀") == "grinning face :)"
    assert ENGLISH.valence(ENGLISH.signs("die Hölle <3")) > 0
