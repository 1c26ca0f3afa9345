"""Helpers for our tests and for those of plugin authors."""

from .contract import RULES, ContractError, check_selector
from .family.check import FAMILY_RULES, check_family
from .tiny import tiny_model
from .tokens import RecordedSample, recorded_tokens

__all__ = [
    "FAMILY_RULES",
    "RULES",
    "ContractError",
    "RecordedSample",
    "check_family",
    "check_selector",
    "recorded_tokens",
    "tiny_model",
]
