"""Suggestions for a mapping: which concept a field may be, why, and how it would be read.

Signals are weighed by a fixed, documented sum; a person decides.
"""

from wardround.clinical.suggest.embedding import Embedder
from wardround.clinical.suggest.minilm import load_minilm
from wardround.clinical.suggest.suggester import Suggester
from wardround.clinical.suggest.suggestion import LIKELY, Evidence, Reading, Signal, Suggestion

__all__ = [
    "LIKELY",
    "Embedder",
    "Evidence",
    "Reading",
    "Signal",
    "Suggester",
    "Suggestion",
    "load_minilm",
]
