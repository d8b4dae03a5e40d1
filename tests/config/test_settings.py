"""config/settings.py: where things are."""

from __future__ import annotations

from pathlib import Path

from config.settings import load_settings


def test_the_file_of_phrases_is_found_under_the_name_it_had_before(tmp_path: Path) -> None:
    settings = load_settings(config=tmp_path)
    assert settings.phrases == tmp_path / "phrases.yaml"
    (tmp_path / "topics.yaml").touch()
    assert settings.phrases == tmp_path / "topics.yaml"
    (tmp_path / "phrases.yaml").touch()
    assert settings.phrases == tmp_path / "phrases.yaml"
