"""Parts of an image, as fractions of its size; it needs no PyTorch, so that reports start fast."""

from __future__ import annotations

Area = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of an image, as fractions of its width and height."""
WHOLE: Area = (0.0, 0.0, 1.0, 1.0)


def central_square(size: tuple[int, int], side: int) -> Area:
    """A square in the middle of an image.

    Args:
        size: (width, height) of the image in pixels.
        side: of the square in pixels.
    """
    across, down = (side / length / 2 for length in size)
    return 0.5 - across, 0.5 - down, 0.5 + across, 0.5 + down
