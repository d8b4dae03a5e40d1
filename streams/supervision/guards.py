"""The guard around an agent's body: nothing may leave it, as Faust would acknowledge and lose what was in hand."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncIterable, Callable
from typing import Any

from streams.errors import StreamwiseError

log = logging.getLogger(__name__)

EXIT_FATAL = 1


def end_process(message: str) -> None:
    """End this process at once with one line. Nothing more is committed: what was in hand is replayed."""
    sys.stderr.write(f"streamwise: {message}\n")
    sys.stderr.flush()
    logging.shutdown()
    os._exit(EXIT_FATAL)


async def guarded(
    events: AsyncIterable[Any], handle: Callable[[Any], None], end: Callable[[str], None] = end_process
) -> None:
    """Call `handle(message)` for each Faust event; an error that reaches here ends the process through `end`."""
    async for event in events:
        message = event.message
        try:
            handle(message)
        except StreamwiseError as error:
            end(str(error))
        except Exception as error:  # the one place: an error nobody foresaw must not acknowledge its batch
            log.exception("while handling %s[%s]@%s", message.topic, message.partition, message.offset)
            end(f"{message.topic}[{message.partition}]@{message.offset}: {type(error).__name__}: {error}")
