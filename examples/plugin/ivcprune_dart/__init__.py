"""DART for ivcprune."""

from .selector import DARTSelector

__all__ = ["DARTSelector"]
