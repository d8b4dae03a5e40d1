"""models/text/phrases.py: what the file may say; and phrases are found where they stand, and not where they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.text.message_reader import MessageReader, Reading
from models.text.phrases import FLAGS, load_topics
from streams.errors import ConfigError

SHIPPED = Path(__file__).parents[3] / "config" / "phrases.yaml"
READER = MessageReader.of(SHIPPED)


def read(text: str) -> Reading:
    return READER.read(text)


@pytest.mark.parametrize(
    ("text", "topics"),
    [
        ("Where is my parcel? The courier never came.", ("delivery",)),
        ("DELIVERED in two days", ("delivery",)),
        ("he can deliver", ("delivery",)),
        ("a delicious dinner with arias", ()),
        ("I was billed twice and the app crashes", ("billing", "app")),
        ("customer\nservice", ()),
        ("customer service", ("service",)),
        ("an apparent happening", ()),
        ("快递三天才到", ("delivery",)),
        ("客服態度很好", ("service",)),
        ("這個產品的質量不錯", ("quality",)),
        ("今天天气不错", ()),
    ],
)
def test_topics(text: str, topics: tuple[str, ...]) -> None:
    assert read(text).topics == topics


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("I want a refund.", True),
        ("I would like to complain about this", True),
        ("It doesn’t work", True),
        ("It does not work", True),
        ("No complaints so far", False),
        ("I never had to complain", False),
        ("I have no reason to complain", False),
        ("No, I complain because it is late", True),
        ("The delivery was horrible", True),
        ("The delivery was lovely", False),
        ("What a horrible day", False),
        ("我要投诉", True),
        ("我不想投诉", False),
        ("我没有投诉过你们", False),
        ("我特别想投诉", True),
        ("一直没收到货", True),
        ("服務太差了，我要投訴", True),
        ("谢谢，收到了", False),
    ],
)
def test_complaints(text: str, complaint: bool) -> None:
    assert read(text).complaint is complaint


@pytest.mark.parametrize(
    ("text", "churn_intent"),
    [
        ("Please cancel my subscription", True),
        ("PLEASE CANCEL MY SUBSCRIPTION", True),
        ("I'm not going to cancel my subscription", False),
        ("I don't want to cancel", False),
        ("Never again.", True),
        ("We are switching to another provider", True),
        ("If this isn't fixed I'm switching to another provider", True),
        ("I never buy bread without butter", False),
        ("I will not renew", True),
        ("The cancellation of the concert", False),
        ("我要退订", True),
        ("我不想退订", False),
        ("再也不买了", True),
        ("请帮我注销账号", True),
        ("下次还会再来", False),
    ],
)
def test_churn_intent(text: str, churn_intent: bool) -> None:
    assert read(text).churn_intent is churn_intent


def test_phrases_of_another_language_are_its_own(tmp_path: Path) -> None:
    text = "topics:\n  delivery: {de: [liefer*], en: [gift]}\nflags:\n  complaint: {de: [beschwer*]}\n"
    path = written(tmp_path, text + "  churn_intent: {de: [kündig*]}\nnegations: {de: [nicht]}\n")
    reader = MessageReader.of(path)
    german = reader.read("Ich will kündigen, die Lieferung ist nicht da und das Gift auch")
    assert german == Reading(0.0, ("delivery",), False, True, "de")
    assert not reader.read("ich werde es nicht kündigen, das ist sehr gut").churn_intent
    assert reader.read("a gift for my sister").topics == ("delivery",)


def test_the_shipped_file_covers_both_languages() -> None:
    topics = load_topics(SHIPPED)
    for label in topics.labels:
        assert {phrase.language for phrase in topics.phrases if phrase.label == label} >= {"en", "zh"}
    assert topics.labels[:2] == FLAGS


def written(folder: Path, text: str) -> Path:
    path = folder / "phrases.yaml"
    path.write_text(text, encoding="utf-8")
    return path


GOOD = (
    "topics:\n  price: {en: [cheap]}\nflags:\n  complaint: {en: [refund]}\n  churn_intent: {en: [cancel]}\n"
)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("topics:", "topic:", 1, "unknown key 'topic'"),
        ("  price: {en: [cheap]}", "  price: []", 2, "price: expected a mapping, got"),
        ("[cheap]", "cheap", 2, "en: expected a list of phrases, got 'cheap'"),
        ("[cheap]", "[no]", 2, "expected words with one space between"),
        ("[cheap]", '["too  cheap"]', 2, "expected words with one space between"),
        ("{en: [cheap]}", "{english: [cheap]}", 2, "expected a language such as en or zh, got 'english'"),
        ("{en: [cheap]}", "{zh: [app崩溃]}", 2, "zh: expected Chinese characters only, got 'app崩溃'"),
        ("price:", "complaint:", 2, "topic 'complaint': expected another name"),
        ("price:", "sentiment:", 2, "topic 'sentiment': expected another name"),
        ("price:", "2nd:", 2, "topic '2nd': expected another name of letters, digits"),
        ("  churn_intent: {en: [cancel]}\n", "", 4, "missing key 'churn_intent'"),
        ("{en: [refund]}", "{below: -3, en: [refund]}", 4, "below: expected a number from -1 to 1, got -3"),
        ("topics:", "valences: {en: {good: 2}}\ntopics:", 1, "unknown key 'en'"),
        ("topics:", "valences: {zh: {好: 9}}\ntopics:", 1, "好: expected a number from -4 to 4, got 9"),
        ("topics:", "valences: {zh: {ok: 1}}\ntopics:", 1, "expected Chinese characters only, got 'ok'"),
    ],
)
def test_a_wrong_file_is_one_line_that_says_where(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    assert load_topics(written(tmp_path, GOOD))
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_topics(path)
    assert said in str(caught.value)
    assert caught.value.line == line
