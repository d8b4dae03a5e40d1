"""`streamwise corrections send`: what is wrong is one line that names it, and nothing is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.run import main

GOOD = '{"text": "a", "sentiment": 0.5}\n'


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[1]", "expected an object with a text"),
        ('{"text": ""}', "expected an object with a text"),
        ("{", "expected an object in JSON"),
        ('{"text": "a"}', "says nothing"),
        ('{"text": "a", "sentiment": 1.5}', "from -1 to 1, got 1.5"),
        ('{"text": "a", "sentiment": NaN}', "from -1 to 1, got nan"),
        ('{"text": "a", "sentiment": "good"}', "not a correction"),
        (
            '{"text": "a", "labels": {"colour": true}}',
            "unknown label 'colour'; known are account, app",
        ),
        ('{"text": "a", "labels": ["app"]}', "not a correction"),
        ('{"text": "a", "mood": 1}', "unknown field 'mood'; known are by, id"),
        ('{"text": "\\ud800", "sentiment": 0}', "not a correction"),
        (f'{{"text": "{"a" * 900_001}", "sentiment": 0}}', "expected at most 900,000"),
    ],
)
def test_a_wrong_line_is_named(
    line: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "told.jsonl"
    file.write_text(GOOD + line + "\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["corrections", "send", str(file), "--kafka", "127.0.0.1:1"])
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.startswith(f"streamwise: {file}:2: ")
    assert says in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "expected a file, or --text"),
        (["no-such-file.jsonl"], "cannot be read"),
        (["some.jsonl", "--text", "a"], "expected a file, or --text"),
        (["some.jsonl", "--sentiment", "0"], "expected a file, or --text"),
        (["--sentiment", "0"], "with a text"),
        (["--text", "a", "--label", "app=maybe"], "app=maybe"),
    ],
)
def test_a_wrong_use_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["corrections", "send", *arguments, "--kafka", "127.0.0.1:1"])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_with_nobody_there_nothing_is_said_to_be_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "told.jsonl"
    file.write_text(GOOD, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["corrections", "send", str(file), "--kafka", "127.0.0.1:1"])
    assert ended.value.code == 1
    assert "no Kafka broker answers" in capsys.readouterr().err
