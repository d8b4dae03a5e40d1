"""Reads YAML and keeps the line of each key, so that an error can name the line to correct."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from streams.errors import ConfigError


class LocatedMapping(dict[str, Any]):
    """A mapping that knows its file, its own line and the line of each key."""

    def __init__(self, path: str = "config", line: int = 1) -> None:
        super().__init__()
        self.path, self.line = path, line
        self.lines: dict[str, int] = {}

    def error(self, message: str, key: str | None = None) -> ConfigError:
        """Return the error to raise about this mapping, or about its `key`."""
        return ConfigError(self.path, self.lines.get(key or "", self.line), message)

    def expect(self, allowed: set[str], required: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Raise `ConfigError` for a key that is not `allowed`, or for a missing `required` one."""
        for key in self:
            if key not in allowed:
                raise self.error(f"unknown key {key!r}; expected one of {sorted(allowed)}", key)
        for key in sorted(required - set(self)):
            raise self.error(f"missing key {key!r}")


def load(path: str | Path) -> LocatedMapping:
    """Read a YAML file whose top level is a mapping. Every mapping in it becomes a `LocatedMapping`.

    >>> load(CONFIG / "policies.yaml")["policies"]["churn-risk"]["cooldown"]
    '14d'
    """
    name = str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(name, None, f"cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(name, 1, "expected a mapping of keys to values")
        value = _build(node, name)
    except UnicodeDecodeError as error:
        raise ConfigError(name, 1 + data.count(b"\n", 0, error.start), "expected UTF-8 text") from error
    except yaml.reader.ReaderError as error:
        line = 1 + text.count("\n", 0, error.position)
        raise ConfigError(name, line, f"expected text, got the character {error.character:#x}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(name, line, f"not valid YAML: {error.problem}") from error
    except RecursionError as error:  # also an alias within the node that it names
        raise ConfigError(name, 1, "expected fewer levels, nothing within itself") from error
    assert isinstance(value, LocatedMapping)
    return value


def _build(node: yaml.Node, path: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        found = LocatedMapping(path, node.start_mark.line + 1)
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(path, line, "expected a name before the colon")
            key = str(key_node.value)
            if key in found:
                raise ConfigError(path, line, f"{key!r} appears twice; expected it once")
            found.lines[key] = line
            found[key] = _build(value_node, path)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, path) for item in node.value]
    try:
        return _scalar(node)
    except ValueError as error:  # an impossible date, or a text that does not fit its tag
        line = node.start_mark.line + 1
        raise ConfigError(path, line, f"expected a value that YAML can read: {error}") from error


def _scalar(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        # YAML 1.1 reads 1e9 as text (and on/off/yes/no as booleans): take every text that Python reads as a number.
        value = loader.construct_object(node, deep=True)
        if isinstance(value, str) and node.style is None:  # type: ignore[attr-defined]
            try:
                return float(value)
            except ValueError:
                return value
        return value
    finally:
        loader.dispose()


_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def duration_ms(mapping: LocatedMapping, key: str) -> float:
    """Read `mapping[key]`, such as `90s`, `30m`, `1h`, `3d` or `1w`, as milliseconds.

    >>> duration_ms(load(CONFIG / "policies.yaml")["policies"]["cart-left"], "cooldown")  # 1d
    86400000.0
    """
    return parse_duration_ms(mapping[key], mapping, key)


def parse_duration_ms(value: Any, mapping: LocatedMapping, key: str) -> float:
    """Read a duration as milliseconds; an error names `mapping`'s line of `key`.

    >>> parse_duration_ms("soon", LocatedMapping("models.yaml", 7), "within")
    Traceback (most recent call last):
    streams.errors.ConfigError: models.yaml:7: within: expected a duration such as 90s, 30m, 1h, 3d or 1w, got 'soon'
    """
    try:
        return milliseconds(str(value))
    except ValueError as error:
        raise mapping.error(f"{key}: {error}", key) from None


def milliseconds(text: str) -> float:
    """Return a duration such as `90s`, `30m`, `1h`, `3d` or `1w` in milliseconds. A ValueError says what was expected.

    >>> milliseconds("1.5h")
    5400000.0
    """
    text = text.strip()
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text[len(number) :]
    try:
        amount = float(number)
    except ValueError:
        amount = -1.0
    if unit not in _UNITS_MS or not 0 < amount < 1e9:
        raise ValueError(f"expected a duration such as 90s, 30m, 1h, 3d or 1w, got {text!r}")
    return amount * _UNITS_MS[unit]
