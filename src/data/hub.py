"""Tables of the Hugging Face Hub, read by `datasets`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset, load_dataset_builder

from ..checks import one_line
from .cells import stamp_of
from .hub_access import without_waiting
from .hub_files import is_textual, read_textual
from .image_folders import WithoutTableError
from .joined import concatenate
from .tables import TableSource
from .texts import as_list

CONFIG_COLUMN, FILE_COLUMN = "config", "file"
"""Added columns that say which configuration or file a row is from, where there are several."""


@dataclass(frozen=True, kw_only=True)
class HubSource(TableSource):
    """One split of a dataset on the hub, or of a folder in the hub's layout.

    Attributes:
        hub_ids: repositories with the same content, the first that can be loaded is used.
        split: as the repository calls it.
        config: of the repository; None = its default. A list: all of them one after the other,
            named by the column `config`; a column that some lack is empty there.
        revision: branch, tag or commit; None = the newest, then kept as first converted.
        data_files: files of a repository without configurations. A list: all of them one after the
            other, their names without ending in the column `file`.
    """

    hub_ids: Sequence[str]
    split: str
    config: str | Sequence[str] | None = None
    revision: str | None = None
    data_files: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hub_ids or isinstance(self.hub_ids, str):
            raise ValueError(
                f"data.hub_ids is {self.hub_ids!r}: give a list, such as [organisation/dataset]"
            )
        if isinstance(self.config, list) and isinstance(self.data_files, list):
            raise ValueError("data.config and data.data_files are both lists: only one can be")

    @property
    def place(self) -> str:
        return f"data.split is {self.split!r} of {' or '.join(self.hub_ids)}"

    def stamp(self) -> str:
        return "".join(stamp_of(Path(hub_id)) for hub_id in self.hub_ids)

    def read(self, cache_dir: Path) -> Dataset:
        # `datasets` keeps what it read of a local folder by its path alone.
        own_cache = str(cache_dir / "datasets" / self.stamp())
        problems, answered = [], True
        for hub_id in self.hub_ids:
            with without_waiting(hub_id, self.revision) as answers:
                try:
                    return self._read_parts(hub_id, own_cache)
                # Repositories move and vanish, hosts and networks fail in ways of their own, and
                # what one copy lacks another may have.
                except Exception as error:
                    problems.append(f"{hub_id}: {_problem(error, answers)}")
                    answered &= answers and not isinstance(error, ConnectionError)
        wrong = "data.split, data.config or data.data_files" if answered else "the network"
        raise FileNotFoundError(
            f"data {self.name!r} cannot be loaded ({'; '.join(problems)}): check {wrong}, or name "
            "a copy with data.hub_ids=[organisation/dataset], which may be a local folder"
        )

    def _read_parts(self, hub_id: str, cache_dir: str) -> Dataset:
        parts = []
        for config in as_list(self.config) or [None]:
            for file in as_list(self.data_files) or [None]:
                part = self._read_part(hub_id, config, file, cache_dir)
                if isinstance(self.config, list):
                    part = part.add_column(CONFIG_COLUMN, [config] * len(part))
                if isinstance(self.data_files, list):
                    part = part.add_column(FILE_COLUMN, [Path(file).stem] * len(part))
                parts.append(part)
        return concatenate(parts)

    def _read_part(
        self, hub_id: str, config: str | None, file: str | None, cache_dir: str
    ) -> Dataset:
        builder = load_dataset_builder(
            hub_id,
            config,
            revision=self.revision,
            cache_dir=cache_dir,
            **({} if file is None else {"data_files": file}),
        )
        if is_textual(builder):
            with suppress(WithoutTableError):
                return read_textual(builder, self.split, Path(cache_dir))
        builder.download_and_prepare()
        part = builder.as_dataset(split=self.split)
        if not isinstance(part, Dataset):
            raise ValueError(f"data.split is {self.split!r}, which names no table")
        return part


def _problem(error: Exception, answers: bool) -> str:
    """Why a repository cannot be read."""
    if not answers and isinstance(error, ConnectionError):  # that it is offline, `datasets` says
        return "the hub does not answer, and there is no copy in the cache"
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {one_line(cause)}"
