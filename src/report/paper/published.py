"""The paper's tables as data: `tables/<name>.yaml`, named as the experiment that repeats it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from statistics import fmean
from typing import Any

from omegaconf import OmegaConf

from ...configuration.data_groups import data_pools
from ...runs.read import VANILLA

ABSENT = "-"
"""Stands in `cells` where the table has no such cell; null is a cell without a printed number."""


@dataclass(frozen=True, order=True)
class Cell:
    """What one run computes; several columns may be read from it."""

    model: str
    data: str
    policy: str


@dataclass(frozen=True)
class Column:
    """One column of figures.

    Attributes:
        group: heading above several columns; "" without one.
        data: benchmarks that the figure is taken from; of several, over all their samples. The file
            may name the pool of a data group.
        category: of the benchmark; None = its headline score.
        figure: name of what is measured, where that is no score.
        decimals: printed digits after the point.
    """

    key: str
    label: str
    group: str
    data: tuple[str, ...]
    category: str | None = None
    figure: str | None = None
    decimals: int = 1


@dataclass(frozen=True)
class PublishedRow:
    """One row as printed.

    Attributes:
        values: by column key; None where no number is printed, missing where there is no cell.
        tokens: Average Tokens in percent; None where not printed.
        relative: Rel. Avg. in percent; None where not printed.
    """

    model: str
    policy: str
    values: Mapping[str, float | None]
    tokens: float | None = None
    relative: float | None = None


@dataclass(frozen=True)
class PublishedSample:
    """One picture that the paper shows, with the reply of its method.

    Attributes:
        resolution: width and height in pixels.
    """

    question: str
    resolution: tuple[int, int]
    answer: str
    prediction: str
    correct: bool


@dataclass(frozen=True)
class PublishedTable:
    """One table of the paper, or a figure that shows scores.

    Attributes:
        models, policies: labels by name, in the order of the table.
        unreconciled: printed figures that cannot follow from the rest, by
            "<model>/<policy>/<tokens or relative>", with what we compute in their place.
        samples: pictures that the table shows.
        methods_as_columns: whether the paper prints it so, with percentages of vanilla.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    models: Mapping[str, str]
    policies: Mapping[str, str]
    rows: tuple[PublishedRow, ...]
    unreconciled: Mapping[str, float]
    samples: tuple[PublishedSample, ...] = ()
    methods_as_columns: bool = False

    def row(self, model: str, policy: str) -> PublishedRow | None:
        """The row of that name; None where the table has none."""
        return next((r for r in self.rows if (r.model, r.policy) == (model, policy)), None)

    @property
    def cells(self) -> frozenset[Cell]:
        """Everything that has to be run for the table."""
        return frozenset(
            Cell(row.model, data, row.policy)
            for row in self.rows
            for column in self.columns
            if column.key in row.values
            for data in column.data
        )

    def relative_average(self, row: PublishedRow) -> float | None:
        """Rel. Avg. recomputed: mean over columns of the score in percent of vanilla's.

        None where vanilla or one of the scores is not printed.
        """
        vanilla = self.row(row.model, VANILLA)
        if vanilla is None:
            return None
        return relative_average(row.values, vanilla.values)


def relative_average(
    values: Mapping[str, float | None], vanilla: Mapping[str, float | None]
) -> float | None:
    """Mean over the columns of vanilla of the percentage of vanilla's score.

    None where vanilla is empty, a score is missing, or vanilla's is zero.
    """
    pairs = [(values.get(key), before) for key, before in vanilla.items()]
    ratios = [value / before for value, before in pairs if value is not None and before]
    return 100 * fmean(ratios) if ratios and len(ratios) == len(pairs) else None


def table_names() -> list[str]:
    """All tables and figures that hold rows, sorted."""
    folder = files(__package__) / "tables"
    names = [f.name for f in folder.iterdir() if f.name.endswith(".yaml")]
    return sorted(n.removesuffix(".yaml") for n in names if "rows" in read_content(n))


def load_table(name: str) -> PublishedTable:
    """The table `tables/<name>.yaml`.

    Raises:
        ValueError: there is no such table, or a row has another number of cells than columns.
    """
    content = read_content(f"{name}.yaml")
    if "rows" not in content:
        names = ", ".join(table_names())
        raise ValueError(f"paper table {name!r} does not exist: choose one of {names}")
    columns = tuple(_column(key, column) for key, column in content["columns"].items())
    rows = tuple(
        _row(f"{name}: {model}/{policy}", columns, model, policy, row)
        for model, policies in content["rows"].items()
        for policy, row in policies.items()
    )
    return PublishedTable(
        name=name,
        title=content["title"],
        columns=columns,
        models=content["models"],
        policies=content["policies"],
        rows=rows,
        unreconciled=content.get("unreconciled", {}),
        samples=tuple(
            PublishedSample(**{**sample, "resolution": tuple(sample["resolution"])})
            for sample in content.get("samples", ())
        ),
        methods_as_columns=content.get("methods_as_columns", False),
    )


def _column(key: str, column: Mapping[str, Any]) -> Column:
    data = column.get("data", key)
    names = [data] if isinstance(data, str) else data
    pools = data_pools()
    return Column(
        key=key,
        label=column["label"],
        group=column.get("group", ""),
        data=tuple(member for name in names for member in pools.get(name, [name])),
        category=column.get("category"),
        figure=column.get("figure"),
        decimals=column.get("decimals", 1),
    )


def _row(
    where: str, columns: tuple[Column, ...], model: str, policy: str, row: Mapping[str, Any]
) -> PublishedRow:
    if len(row["cells"]) != len(columns):
        raise ValueError(
            f"{where} has {len(row['cells'])} cells for {len(columns)} columns: give one each, "
            f"null without a printed number and {ABSENT!r} where the table has no cell"
        )
    values = {
        column.key: value
        for column, value in zip(columns, row["cells"], strict=True)
        if value != ABSENT
    }
    return PublishedRow(model, policy, values, row.get("tokens"), row.get("relative"))


def read_content(file_name: str) -> dict[str, Any]:
    """The content of a file of `tables/`; empty where there is none."""
    file = files(__package__) / "tables" / file_name
    if not file.is_file():
        return {}
    content = OmegaConf.to_container(OmegaConf.create(file.read_text(encoding="utf-8")))
    if not isinstance(content, dict):
        raise ValueError(f"{file_name} holds no mapping")
    return {str(key): value for key, value in content.items()}
