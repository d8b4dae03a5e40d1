"""The project's one tree of errors.

StreamwiseError
├── Retryable      the same call may succeed later (the broker or a store does not answer)
├── Poison         this record can never be processed; it goes to the dead letters
└── Fatal          the process must end; exit status 1
    └── ConfigError    a file the user wrote is wrong; exit status 2, nothing consumed
"""

from __future__ import annotations


class StreamwiseError(Exception):
    """Any error of this project. `topic`, `partition` and `offset` locate the record at fault, if there is one."""

    def __init__(
        self,
        message: str,
        *,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
    ) -> None:
        self.topic, self.partition, self.offset = topic, partition, offset
        where = ""
        if topic is not None:
            where = topic if partition is None else f"{topic}[{partition}]"
            where += ": " if offset is None else f"@{offset}: "
        super().__init__(where + message)


def located(
    error: Fatal | Poison, topic: str, partition: int, offset: int | None = None
) -> Fatal | Poison:  # fmt: skip
    """Return the same error with its location; an error that has one already is returned as it is."""
    if error.topic is not None:
        return error
    return type(error)(str(error), topic=topic, partition=partition, offset=offset)


class Retryable(StreamwiseError):
    """The same call may succeed later."""


class Poison(StreamwiseError):
    """A record that can never be processed."""


class Fatal(StreamwiseError):
    """The process cannot go on; its message says what to do."""


class ConfigError(Fatal):
    """A file of the user's is wrong: `path:line: what is wrong, what was expected` in one line."""

    def __init__(self, path: str, line: int | None, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")
        self.path, self.line = path, line
