"""Helpers for our tests and for those of plugin authors."""

from .contract import RULES, ContractError, check_selector
from .tiny import tiny_model
from .tokens import RecordedSample, recorded_tokens

__all__ = [
    "RULES",
    "ContractError",
    "RecordedSample",
    "check_selector",
    "recorded_tokens",
    "tiny_model",
]
