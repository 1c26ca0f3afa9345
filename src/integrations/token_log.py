"""What a harness has no field for: the visual tokens that each of its samples kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import __version__
from ..policy import PruningPolicy
from ..pruning.statistics import PrefillStatistics


@dataclass(frozen=True)
class TokenRow:
    """What one sample of a task kept.

    Attributes:
        task, doc_id: how the harness names the sample.
        n_visual, n_kept: visual tokens before and after the last stage.
        average_tokens: share of the visual tokens in the caches, mean over the layers.
        kv_bytes: of the keys and values of its prefill.
    """

    task: str
    doc_id: str | int
    n_visual: int
    n_kept: int
    average_tokens: float
    kv_bytes: int


class TokenLog:
    """A JSON Lines file of `TokenRow`s: a sample measured anew replaces its earlier row.

    Args:
        path: of the file; its folder is made.
        identity: of policy and weights, see `identity_of`. Rows of another one are an error.

    Raises:
        ValueError: the file holds rows of another identity.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._path, self._identity = path, identity
        self._rows: dict[tuple[str, str | int], TokenRow] = {}
        self._measured: set[tuple[str, str | int]] = set()
        for line in path.read_text().splitlines() if path.exists() else []:
            row = json.loads(line)
            if (found := row.pop("identity")) != identity:
                raise ValueError(
                    f"token_log={path} holds rows of {found!r}, and this is {identity!r}: give "
                    "each policy a file of its own"
                )
            self._keep(TokenRow(**row))

    def _keep(self, row: TokenRow) -> None:
        self._rows[row.task, row.doc_id] = row

    def add(self, rows: Sequence[TokenRow]) -> None:
        """Enter rows and append them to the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            for row in rows:
                self._keep(row)
                self._measured.add((row.task, row.doc_id))
                file.write(json.dumps({"identity": self._identity} | asdict(row)) + "\n")

    @property
    def rows(self) -> list[TokenRow]:
        """The latest row of each sample."""
        return list(self._rows.values())

    def means(self) -> dict[str, float]:
        """Means over the samples with visual tokens that this object measured; empty without."""
        rows = [self._rows[key] for key in self._measured]
        seen = [row for row in rows if row.n_visual]
        if not seen:
            return {}
        names = ("n_visual", "n_kept", "average_tokens", "kv_bytes")
        return {name: sum(getattr(row, name) for row in seen) / len(seen) for name in names}


def rows_of(
    samples: Sequence[tuple[str, str | int]],
    has_images: Sequence[bool],
    stats: PrefillStatistics,
) -> list[TokenRow]:
    """The rows of one batch; beams of a sample follow one another and count once.

    Args:
        samples: (task, doc_id) of each sample of the batch, in its order.
        has_images: whether the harness gave the sample images.

    Raises:
        ValueError: the batch has not one prefill for each sample, or images have vanished.
    """
    beams, rest = divmod(len(stats.n_visual), max(1, len(samples)))
    if rest or not beams:
        raise ValueError(
            f"a prefill of {len(stats.n_visual)} sequences cannot be told to the {len(samples)} "
            "samples of its batch: use batch_size=1"
        )
    rows = []
    for i, ((task, doc_id), images) in enumerate(zip(samples, has_images, strict=True)):
        n_visual = stats.n_visual[i * beams]
        if images and not n_visual:
            raise ValueError(
                f"sample {doc_id} of {task} has images, but no visual token reached the model: the "
                "processor has dropped them without a word (without torchvision, transformers' "
                "AutoProcessor may return a mere tokenizer); its score would be that of a blind "
                "model, so nothing is scored"
            )
        rows.append(
            TokenRow(
                task=task,
                doc_id=doc_id,
                n_visual=n_visual,
                n_kept=len(stats.kept[i * beams]) + stats.n_added[i * beams],
                average_tokens=stats.average_tokens_per_sequence[i * beams],
                kv_bytes=stats.kv_bytes_per_sequence[i * beams],
            )
        )
    return rows


def identity_of(policy: PruningPolicy, weights: str = "") -> str:
    """`<version>-<hash>` of all that a policy file says, and of the weights where they are known.

    Two runs of one identity give the same answers; a cache that others keep may go by it.
    """
    content = f"{policy!r}|{weights}"
    return f"{__version__}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def check_identity(given: object, identity: str, cached: bool) -> None:
    """A harness that caches answers by its arguments must be given the identity as one.

    Args:
        given: the argument `identity`, None where there was none.
        cached: whether answers of earlier runs may be taken.

    Raises:
        ValueError: it is missing or that of another policy; says what to write.
    """
    if given is None and cached:
        raise ValueError(
            "the cache of answers goes by the model's arguments, which say neither the version of "
            f"ivcprune nor what its policy file holds: add identity={identity} to them"
        )
    if given is not None and str(given) != identity:
        raise ValueError(
            f"identity={given} is not that of this policy: it is {identity} now (a policy file, "
            "the weights or ivcprune have changed since)"
        )
