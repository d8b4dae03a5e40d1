"""Holds the outputs of a pass until the engine sends them."""

from __future__ import annotations

import numpy as np

from streams.kernels import grown


class Outbox:
    """Outputs that librdkafka does not have yet: encoded values end to end in `data: uint8[:]`.

    Record r stands at `at[r], size[r]` in `data`; `slot[r]` is the row whose key it carries, `topic[r]` the output
    topic's number, `label[r]` what the metrics count it as (the policy's number; for examples the model's).
    """

    def __init__(self, records: int = 4096, data_bytes: int = 4 << 20) -> None:
        self.data = np.zeros(data_bytes, np.uint8)
        self.at, self.size, self.slot, self.topic, self.label = (
            np.zeros(records, np.int64) for _ in range(5)
        )
        self.used = np.zeros(2, np.int64)  # records, bytes

    def clear(self) -> None:
        """Empty it."""
        self.used[:] = 0

    def ensure(self, data_bytes: int, records: int = 1) -> None:
        """Make room for `records` records of up to `data_bytes` each in an empty outbox."""
        if len(self.data) < records * data_bytes:
            self.data = grown(self.data, records * data_bytes)
        if len(self.at) < records:
            for name in ("at", "size", "slot", "topic", "label"):
                setattr(self, name, grown(getattr(self, name), records))
