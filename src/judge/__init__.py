"""A language model that settles answers which exact matching cannot read."""

from .base import Case, Judge, NoJudge, Verdict
from .chat import ChatJudge

__all__ = ["Case", "ChatJudge", "Judge", "NoJudge", "Verdict"]
