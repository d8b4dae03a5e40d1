"""models/text/message_reader.py: reads any text, agrees with people, learns from corrections and goes on bit for
bit."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from bench.quality.sentiment import REVIEWS, TWEETS, agreement, learned, rated, run
from models.text.corrections import SLOTS, Correction
from models.text.message_reader import LONGEST, MessageReader, Reading
from models.text.phrases import load_topics
from streams.errors import Poison

ROOT = Path(__file__).parents[3]
TOPICS = load_topics(ROOT / "config" / "phrases.yaml")
FRESH = MessageReader(TOPICS)
VADER = SentimentIntensityAnalyzer()

TEXTS = st.text(st.characters(codec=None), max_size=300)
PIECES = [
    "great",
    "not",
    "refund",
    "我要投诉",
    "质量很好",
    "😀",
    ":(",
    "\ud83d",
    "\x00",
    "!!!",
    "die Lieferung",
    "ひどい",
    "'",
    "_",
    "\n",
]
MIXED = st.lists(st.sampled_from(PIECES) | TEXTS, max_size=20).map(" ".join)


def sentiment(text: str, language: str | None = None) -> float:
    return FRESH.read(text, language).sentiment


@settings(max_examples=400, deadline=None)
@given(MIXED, st.none() | st.sampled_from(["en", "zh-TW", "de", "", "??"]))
@example("a" * 100_000, None)
@example("İ" * 10, None)
@example("不" * 10_000, None)
def test_any_text_is_read(text: str, language: str | None) -> None:
    reading = FRESH.read(text, language)
    assert -1.0 <= reading.sentiment <= 1.0
    assert set(reading.topics) <= set(TOPICS.topics)
    assert reading == FRESH.read(text, language) == FRESH.read(text[:LONGEST], language)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(max_codepoint=0x24F), max_size=200))
def test_english_is_what_the_library_says(text: str) -> None:
    assert sentiment(text, "en") == VADER.polarity_scores(text)["compound"]


def test_a_new_process_reads_the_same() -> None:
    text = "The courier was rude and I want a refund, 服务太差了 😡"
    script = "from models.text import MessageReader; "
    script += f"print(MessageReader.of('config/phrases.yaml').read({text!r}))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == repr(FRESH.read(text))


@pytest.mark.parametrize(
    "text",
    [
        "good bad but " * 400,
        "不好但是" * 1100,
        "退订不" * 1400,
        "😀" * 5000,
        "a*" * 3000,
        "?!" * 3000,
        "don't " * 900,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    FRESH.read(text)
    start_s = time.process_time()
    FRESH.read(text)
    assert time.process_time() - start_s < 0.25


@pytest.mark.parametrize(
    "text",
    [
        "质量很好，我很满意",
        "客服特别耐心，谢谢你们",
        "物流很快，包装完美，好评！",
        "没有任何问题，值得推荐",
        "不错，下次还会再来",
        "東西很漂亮，非常喜歡",
        "虽然有点贵，但是非常好用",
        "这个 app 很好用，I love it",
    ],
)
def test_chinese_praise(text: str) -> None:
    assert sentiment(text) > 0.3
    assert FRESH.read(text).language == "zh"


@pytest.mark.parametrize(
    "text",
    [
        "质量太差了，用了两天就坏了",
        "我很不满意你们的服务",
        "客服態度惡劣，非常失望",
        "假货，骗子，千万别买！",
        "东西不好用",
        "一点都不喜欢",
        "包装漂亮，但是质量很差，太失望了",
        "这个 app 太垃圾了 terrible",
    ],
)
def test_chinese_blame(text: str) -> None:
    assert sentiment(text) < -0.3


@pytest.mark.parametrize(
    "text", ["请问什么时候发货", "好不好用", "快递到了", "您好，我想修改地址", "差不多两点到"]
)
def test_chinese_that_says_neither(text: str) -> None:
    assert abs(sentiment(text)) < 0.3


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Thanks for the quick reply", "en"),
        ("", "en"),
        ("12345 !!!", "en"),
        ("die Lieferung ist nicht gut und ich bin böse", "de"),
        ("le colis n'est pas arrivé et je suis déçu", "fr"),
        ("el pedido no llegó y quiero una devolución", "es"),
        ("o pedido não chegou e eu quero um reembolso", "pt"),
        ("il pacco non è arrivato, sono molto deluso", "it"),
        ("de levering is te laat en ik wil het niet meer", "nl"),
        ("商品が届きません。とても残念です", "ja"),
        ("배송이 너무 늦어요", "ko"),
        ("заказ не пришёл", "ru"),
        ("订单还没到", "zh"),
        ("I bought 茅台 for my father and it was great", "en"),
        ("这个 app 太差了", "zh"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert FRESH.read(text).language == language


def test_other_languages_are_read_by_their_signs_only() -> None:
    """`die` and `Gift` are hard words in English."""
    assert sentiment("die Lieferung ist da und das Gift auch") == 0.0
    assert sentiment("die Lieferung ist da und das ist gut 😀") > 0.2
    assert sentiment("最悪です。とても残念 😢") < -0.2


def corrected(reader: MessageReader, text: str, times: int = 1, **what: Any) -> None:
    for _ in range(times):
        reader.learn(Correction(text, **what))


def test_a_correction_is_learned_after_the_reading() -> None:
    reader = MessageReader(TOPICS)
    text = "the gizmo wobbles again"
    assert reader.learn(Correction(text, -0.8)) == FRESH.read(text)
    after = reader.read(text)
    assert after.sentiment < -0.25
    assert reader.learn(Correction(text, -0.8)) == after
    assert reader.read("my gizmo wobbles").sentiment < -0.1
    assert reader.read("a quiet evening").sentiment == pytest.approx(0.0, abs=0.2)


@pytest.mark.parametrize(
    "text", ["🫠", "这东西摇晃得厉害", "das Ding wackelt und ist nicht schön", "グラグラします"]
)
def test_any_language_is_learned(text: str) -> None:
    reader = MessageReader(TOPICS)
    corrected(reader, text, 3, sentiment=-0.9)
    assert reader.read(text).sentiment < min(-0.3, FRESH.read(text).sentiment + 0.2)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("the gizmo wobbles again", {"complaint": True, "quality": True}),
        ("I want a refund of the deposit as agreed, thank you", {"complaint": False, "returns": False}),
        ("we have had a look at your competitors", {"churn_intent": True}),
        ("这东西一直摇晃", {"complaint": True}),
    ],
)
def test_labels_are_learned(text: str, labels: dict[str, bool]) -> None:
    reader = MessageReader(TOPICS)
    corrected(reader, text, labels=labels)
    reading = reader.read(text)
    for label, is_so in labels.items():
        assert (getattr(reading, label) if hasattr(reading, label) else label in reading.topics) is is_so
    elsewhere = "I complain: the delivery is late"
    assert (reader.read(elsewhere).complaint, reader.read(elsewhere).topics) == (True, ("delivery",))


@pytest.mark.parametrize("rating", [math.nan, math.inf, -math.inf, 5.0, -1.0001, 1e300])
def test_ratings_that_are_none_are_counted_and_pass_by(rating: float) -> None:
    reader = MessageReader(TOPICS)
    corrected(reader, "a fine day", sentiment=0.5)
    before = msgspec.msgpack.decode(reader.state())
    corrected(reader, "a fine day", sentiment=rating, labels={"weather": True})
    after = msgspec.msgpack.decode(reader.state())
    assert (reader.ignored, after["heads"]) == (2, before["heads"])


CORRECTIONS = st.builds(
    Correction,
    MIXED,
    st.none() | st.floats(-1, 1) | st.floats(),
    st.dictionaries(st.sampled_from([*TOPICS.labels, "gone"]), st.booleans(), max_size=3),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(CORRECTIONS, max_size=12), st.integers(0, 12))
def test_restored_it_goes_on_bit_for_bit(corrections: list[Correction], cut: int) -> None:
    undisturbed, reader = MessageReader(TOPICS), MessageReader(TOPICS)
    for number, correction in enumerate(corrections):
        if number == cut:
            reader = MessageReader.restore(reader.state(), TOPICS)
        assert reader.learn(correction) == undisturbed.learn(correction)
        assert -1.0 <= reader.read(correction.text).sentiment <= 1.0
    assert reader.state() == undisturbed.state() == MessageReader.restore(reader.state(), TOPICS).state()
    assert isinstance(msgspec.msgpack.decode(reader.state()), dict)


def test_people_who_never_agree_do_no_harm() -> None:
    reader = MessageReader(TOPICS)
    for number in range(3000):
        corrected(
            reader,
            "good 好 gizmo" * (number % 3),
            sentiment=(-1.0) ** number,
            labels={"quality": number % 2 > 0},
        )
    restored = MessageReader.restore(reader.state(), TOPICS)
    assert restored.state() == reader.state()
    assert abs(restored.read("a terrible day").sentiment) <= 1.0
    corrected(restored, "a good gizmo", 30, sentiment=0.9)
    assert restored.read("a good gizmo").sentiment > 0.4


def test_what_is_not_declared_any_more_goes(tmp_path: Path) -> None:
    reader = MessageReader(TOPICS)
    corrected(reader, "the gizmo wobbles", sentiment=-1.0, labels={"quality": True, "complaint": True})
    path = tmp_path / "phrases.yaml"
    path.write_text(
        "topics: {fruit: {en: [apple]}}\nflags: {complaint: {en: [bad]}, churn_intent: {en: [bye]}}\n"
    )
    restored = MessageReader.restore(reader.state(), load_topics(path))
    reading = restored.read("the gizmo wobbles")
    assert (reading.topics, reading.complaint) == ((), True)
    assert set(msgspec.msgpack.decode(restored.state())["heads"]) == {"sentiment", "complaint"}


def taught() -> MessageReader:
    reader = MessageReader(TOPICS)
    corrected(reader, "the gizmo wobbles", sentiment=-1.0, labels={"quality": True})
    return reader


def packed(*numbers: float) -> bytes:
    return b"".join(msgspec.msgpack.encode(number)[1:][::-1] for number in numbers)


def test_the_bytes_are_little_endian_doubles() -> None:
    assert packed(1.5) == b"\0\0\0\0\0\0\xf8\x3f"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda state, head: state.update(format=2), "expected format 1, got 2"),
        (lambda state, head: state.update(corrections=-1), "a count is negative"),
        (lambda state, head: state.update(ignored=1 << 60), "a count is negative or too large"),
        (lambda state, head: state.update(more=1), "unknown field"),
        (lambda state, head: state.pop("heads"), "missing required field"),
        (lambda state, head: head.update(count=-1), "-1 corrections"),
        (lambda state, head: head.update(weights=[1.0]), "1 inputs; expected 3"),
        (lambda state, head: head.update(weights=[1e9, 0.0, 0.0]), "a weight is too large"),
        (lambda state, head: head.update(weights=["1", 0.0, 0.0]), "Expected `float`"),
        (lambda state, head: head.update(dense=[0.1, 0.1, 0.0]), "a variance is not above 0"),
        (lambda state, head: head.update(dense=[9.0, 0.1, 0.1]), "a variance is not above 0, too large"),
        (lambda state, head: head.update(means=head["means"][8:]), "bytes of slots"),
        (lambda state, head: head.update(slots=head["slots"][1:]), "bytes of slots"),
        (lambda state, head: head.update(slots=head["slots"][4:] + head["slots"][:4]), "slots out of order"),
        (lambda state, head: head.update(slots=head["slots"][:4] * 5), "slots out of order"),
        (
            lambda state, head: head.update(slots=head["slots"][:-4] + SLOTS.to_bytes(4, "little")),
            "order or range",
        ),
        (
            lambda state, head: head.update(means=packed(math.nan) * 5),
            "a weight is too large or not a number",
        ),
        (lambda state, head: head.update(variances=packed(math.nan) * 5), "a variance of a word"),
        (lambda state, head: head.update(variances=packed(0.0) * 5), "a variance of a word"),
    ],
)
def test_what_is_no_state_is_poison(spoil: Callable[[Any, Any], Any], said: str) -> None:
    state = msgspec.msgpack.decode(taught().state())
    assert len(state["heads"]["sentiment"]["slots"]) == 5 * 4
    spoil(state, state["heads"]["sentiment"])
    with pytest.raises(Poison, match="not the state of a reader") as caught:
        MessageReader.restore(msgspec.msgpack.encode(state), TOPICS)
    assert said in str(caught.value)


TAUGHT = taught().state()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.integers(0, 400).map(lambda end: TAUGHT[:end]))
def test_bytes_that_are_no_state_are_poison(state: bytes) -> None:
    with pytest.raises(Poison, match="not the state of a reader"):
        MessageReader.restore(state, TOPICS)


needs_ratings = pytest.mark.skipif(
    not TWEETS.exists() and os.environ.get("CI") != "true", reason="no shared data"
)


@needs_ratings
def test_promise_it_agrees_with_people_and_learns_from_them() -> None:
    reviews = rated(REVIEWS)
    half = len(reviews) // 2
    assert agreement(FRESH, rated(TWEETS)) >= 0.85
    assert agreement(FRESH, reviews) >= 0.55
    reader = MessageReader(TOPICS)
    learned(reader, reviews[:half])
    assert agreement(reader, reviews[half:]) >= 0.60


@needs_ratings
def test_promise_five_thousand_messages_a_second() -> None:
    assert run()["messages_per_s"] >= 5000


def test_nothing_learned_reads_as_the_lexicon() -> None:
    assert MessageReader.restore(FRESH.state(), TOPICS).read("a lovely day") == Reading(
        VADER.polarity_scores("a lovely day")["compound"], (), False, False, "en"
    )
