"""What a message says: sentiment, topics, complaint, the wish to leave (step 1).

Promises: a reading depends on the text, the phrases and the corrections alone.
"""

from .corrections import Correction
from .message_reader import MessageReader
from .phrases import load_topics

__all__ = ["Correction", "MessageReader", "load_topics"]
