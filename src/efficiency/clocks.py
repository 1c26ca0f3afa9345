"""What is read at the boundaries of a prefill: time on a CPU, time on a GPU, or FLOPs."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

Mark = TypeVar("Mark")
Amount = TypeVar("Amount")

_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_ATTENTION = {
    _CPU_ATTENTION,
    torch.ops.aten._scaled_dot_product_flash_attention,
    torch.ops.aten._scaled_dot_product_efficient_attention,
    torch.ops.aten._scaled_dot_product_cudnn_attention,
}


class Clock(ABC, Generic[Mark, Amount]):
    """Something that grows while a model runs."""

    @abstractmethod
    def read(self) -> Mark:
        """Where it stands; must not wait for a device."""

    @abstractmethod
    def between(self, start: Mark, end: Mark) -> Amount:
        """What was spent from one reading to the other; may wait for the device."""


class WallClock(Clock[float, float]):
    """Milliseconds of a model on the CPU."""

    def read(self) -> float:
        return time.perf_counter()

    def between(self, start: float, end: float) -> float:
        return 1e3 * (end - start)


class CudaClock(Clock[Any, float]):
    """Milliseconds between CUDA events: gaps in which the GPU waits for the CPU count too."""

    def read(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: Any, end: Any) -> float:
        end.synchronize()
        return float(start.elapsed_time(end))


def clock_of(device: torch.device) -> Clock[Any, float]:
    """The clock of models on that device."""
    return CudaClock() if device.type == "cuda" else WallClock()


@dataclass(frozen=True)
class Flops:
    """Floating-point operations, as PyTorch counts them: two for a multiply-add.

    Attributes:
        total: of matrix products, convolutions and fused attention.
        attention: of fused attention alone, over the whole square of queries and keys.
    """

    total: int = 0
    attention: int = 0

    @property
    def causal(self) -> float:
        """With the half of the square that a causal kernel skips left out."""
        return self.total - self.attention / 2

    def __add__(self, other: Flops) -> Flops:
        return Flops(self.total + other.total, self.attention + other.attention)

    def __sub__(self, other: Flops) -> Flops:
        return Flops(self.total - other.total, self.attention - other.attention)


class FlopClock(Clock[Flops, Flops]):
    """FLOPs counted so far by a counter that is active."""

    def __init__(self, counter: FlopCounterMode) -> None:
        self._counter = counter

    def read(self) -> Flops:
        counts = self._counter.flop_counts["Global"]
        attention = sum(counts.get(operator, 0) for operator in _ATTENTION)
        return Flops(self._counter.get_total_flops(), attention)

    def between(self, start: Flops, end: Flops) -> Flops:
        return end - start


def flop_counter() -> FlopCounterMode:
    """PyTorch's counter, which by itself passes over the fused attention of the CPU."""
    return FlopCounterMode(display=False, custom_mapping={_CPU_ATTENTION: _attention_flops})


def _attention_flops(
    query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    """From the shapes `[B, H, S, D]`."""
    return int(sdpa_flop_count(query, key, value))
