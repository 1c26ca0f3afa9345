"""Tokens that a stage adds beside those that it keeps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Copies:
    """Tokens that a stage added, each in the place of one that was there before it.

    Attributes:
        origin: column of the token whose place it takes, long `[R, C]`.
        valid: real ones, bool `[R, C]`.
        slot: slot in the sequence after the stage, long `[R, C]`.
    """

    origin: Tensor
    valid: Tensor
    slot: Tensor
