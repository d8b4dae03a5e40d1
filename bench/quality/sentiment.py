"""Measures how well the sentiment of messages agrees with people's ratings, and messages read per second and core.

The ratings are those of Hutto and Gilbert 2014: 4,200 tweets and 3,708 sentences of Amazon reviews, each the mean of
20 people from -4 to 4. They were not used to choose anything. The figures are prequential: a correction is learned
after its text was predicted, and the second half of the reviews is predicted after learning the first half.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import correlation, median
from typing import Final

from models.text import Correction, MessageReader, load_topics

ROOT: Final = Path(__file__).resolve().parents[2]
RATED: Final = ROOT.parent / "shared" / "data"
TWEETS: Final = RATED / "tweets_rated.tsv"
REVIEWS: Final = RATED / "amazon_reviews_rated.tsv"
TOPICS: Final = ROOT / "config" / "phrases.yaml"

_SCALE: Final = 4.0  # the largest rating
_PASSES: Final = 7  # over all messages; the median counts


def rated(path: Path) -> list[tuple[float, str]]:
    """Return (mean rating from -1 to 1, text) in the order of the file."""
    found = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            _, rating, text = line.rstrip("\n").split("\t")
            found.append((float(rating) / _SCALE, text))
    return found


def agreement(reader: MessageReader, messages: Sequence[tuple[float, str]]) -> float:
    """Return the Pearson correlation of predicted sentiment with the ratings."""
    return correlation(
        [rating for rating, _ in messages], [reader.read(text).sentiment for _, text in messages]
    )


def learned(reader: MessageReader, messages: Sequence[tuple[float, str]]) -> None:
    for rating, text in messages:
        reader.learn(Correction(text, rating))


def messages_per_s(reader: MessageReader, texts: Sequence[str]) -> float:
    """Return messages per second of CPU time: the median of some passes, after one that fills the caches."""
    rates = []
    for _ in range(_PASSES + 1):
        start_s = time.process_time()
        for text in texts:
            reader.read(text)
        rates.append(len(texts) / (time.process_time() - start_s))
    return median(rates[1:])


def run() -> dict[str, float]:
    """Return the figures. `messages_per_s`: one thread, with a reader that has learned (it is slower)."""
    topics = load_topics(TOPICS)
    tweets, reviews = rated(TWEETS), rated(REVIEWS)
    fresh, taught = MessageReader(topics), MessageReader(topics)
    half = len(reviews) // 2
    learned(taught, reviews[:half])
    return {
        "tweets_r": agreement(fresh, tweets),
        "reviews_r": agreement(fresh, reviews),
        "reviews_learned_r": agreement(taught, reviews[half:]),
        "messages_per_s": messages_per_s(taught, [text for _, text in [*tweets, *reviews]]),
    }


if __name__ == "__main__":
    print(run())
