"""Reads messages: sentiment, topics, complaint, churn intent (step 1).

Promises: a reading depends only on the text, the phrases and the corrections.
"""

from .corrections import Correction
from .message_reader import MessageReader
from .phrases import load_topics

__all__ = ["Correction", "MessageReader", "load_topics"]
