"""Which attention a model may be asked to use, by the names of the setting `attention`."""

from __future__ import annotations

ATTENTIONS = ("auto", "flash", "sdpa", "eager")
