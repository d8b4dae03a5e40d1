"""How well models predict, in order of time, compared with a nightly refit (step 10).

Promises: each example is scored before it is learned (prequential).
"""

from .evaluation import AmountFigures, Evaluation, Figures
from .period import Period, PeriodFigures

__all__ = ["AmountFigures", "Evaluation", "Figures", "Period", "PeriodFigures"]
