"""The guard around an agent's body. No error may leave the body: Faust would acknowledge the batch and lose it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncIterable, Callable
from contextvars import ContextVar
from typing import Any

from streams.errors import StreamwiseError

log = logging.getLogger(__name__)

EXIT_FATAL = 1


_role: ContextVar[str] = ContextVar("role", default="")


def in_role(name: str) -> None:
    """Name the role, one of several in this process, that this thread and its tasks work for from now on."""
    _role.set(name)


def end_process(message: str) -> None:
    """End this process at once with one line. It commits nothing more: the next process replays the open work."""
    role = _role.get()
    sys.stderr.write(f"streamwise: {role}: {message}\n" if role else f"streamwise: {message}\n")
    sys.stderr.flush()
    logging.shutdown()
    os._exit(EXIT_FATAL)


async def guarded(
    events: AsyncIterable[Any], handle: Callable[[Any], None], end: Callable[[str], None] = end_process
) -> None:
    """Call `handle(message)` for each Faust event. An error of it ends the process through `end`."""
    async for event in events:
        message = event.message
        try:
            handle(message)
        except StreamwiseError as error:
            end(str(error))
        except Exception as error:  # the only catch-all: an unforeseen error must not acknowledge its batch
            log.exception("while handling %s[%s]@%s", message.topic, message.partition, message.offset)
            end(f"{message.topic}[{message.partition}]@{message.offset}: {type(error).__name__}: {error}")
