"""Tables one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset, concatenate_datasets


def concatenate(parts: Sequence[Dataset]) -> Dataset:
    """Tables one after the other, with all columns of any of them."""
    if len(parts) == 1:
        return parts[0]
    features = {name: feature for part in parts for name, feature in part.features.items()}
    aligned = []
    for part in parts:
        for name, feature in features.items():
            if name not in part.column_names:
                part = part.add_column(name, [None] * len(part), feature=feature)
        aligned.append(part)
    return concatenate_datasets(aligned)
