"""Tab. 3 of the IVC-Prune paper, for comparison beside what is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """A row of Tab. 3.

    Attributes:
        average_tokens: in percent.
        kv_cache: megabytes.
        prefill: milliseconds.
        decode: milliseconds a token.
        total: time of the whole benchmark, minutes'seconds.
        kv_saving, prefill_speed_up, decode_speed_up, total_speed_up: as the paper prints them.
    """

    average_tokens: int
    kv_cache: float
    kv_saving: float
    prefill: int
    prefill_speed_up: float
    decode: float
    decode_speed_up: float
    total: str
    total_speed_up: float


SETTING = "Qwen2.5-VL-7B, RefCOCO testA, 8 x A100 40 GB"
"""What Tab. 3 was measured on; batch size, attention and software are not stated."""

TABLE_3 = {
    "none": PaperRow(100, 26.0, 1.0, 408, 1.00, 65.3, 1.00, "60'17", 1.00),
    "fastv": PaperRow(54, 16.1, 1.6, 297, 1.37, 62.7, 1.04, "51'51", 1.16),
    "pdrop": PaperRow(61, 16.4, 1.6, 315, 1.30, 62.8, 1.04, "52'23", 1.15),
    "ivc_prune": PaperRow(50, 15.9, 1.6, 322, 1.27, 60.2, 1.08, "47'47", 1.27),
}
"""By the name of the policy. The last ratio is as printed; the printed times give 1.26."""
