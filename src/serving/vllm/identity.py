"""What of a question enters the identity of a picture in the caches of an engine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def with_question(image_hash: str, question: Sequence[int]) -> str:
    """The hash of a picture and of what its selection may depend on, see `picture.questions`.

    An engine keeps processed pictures, encoder outputs and prefixes by it: with the question left
    out, a picture would be answered about with the tokens kept for an earlier question.
    """
    content = f"{image_hash}|{','.join(map(str, question))}"
    return hashlib.sha256(content.encode()).hexdigest()
