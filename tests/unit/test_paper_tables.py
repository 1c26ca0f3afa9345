"""The paper's numbers as data: printed averages follow from printed cells."""

from __future__ import annotations

from importlib.resources import files

import pytest

from ivcprune.report.paper.published import (
    PublishedRow,
    PublishedTable,
    load_table,
    relative_average,
    table_names,
)

TABLES = {name: load_table(name) for name in table_names()}
ROWS = [
    pytest.param(table, row, id=f"{name}-{row.model}-{row.policy}")
    for name, table in TABLES.items()
    for row in table.rows
    if row.relative is not None
]
TOLERANCE = 0.1
"""Cells are printed with one decimal, averages too."""


def test_the_paper_prints_80_relative_averages() -> None:
    per_table = {
        name: sum(row.relative is not None for row in t.rows) for name, t in TABLES.items()
    }
    assert {name: n for name, n in per_table.items() if n} == {
        "tab1": 16,
        "tab2": 22,
        "tab9": 8,
        "tab10": 16,
        "tab12_grounding": 4,
        "tab12_vqa": 4,
        "tab16": 10,
    }


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_the_relative_average_follows_from_the_cells(
    table: PublishedTable, row: PublishedRow
) -> None:
    computed = table.relative_average(row)
    listed = table.unreconciled.get(f"{row.model}/{row.policy}/relative")
    assert computed is not None
    assert row.relative is not None
    if listed is None:
        assert computed == pytest.approx(row.relative, abs=TOLERANCE)
    else:
        assert computed == pytest.approx(listed, abs=0.05)
        assert abs(listed - row.relative) > TOLERANCE, "it need not be listed"


@pytest.mark.parametrize(
    ("table", "model", "policy", "column", "printed"),
    [
        ("tab1", "qwen2_5_vl_7b", "fastv", "refcoco_testb", 76.5),
        ("tab1", "deepseek_vl2_small", "ivc_prune", "refcocog_val", 92.2),
        ("tab2", "llava_1_5_7b", "window_fastv", "mme", 1643.3),
        ("tab2", "internvl2_5_8b", "pdrop", "textvqa", 65.0),
        ("tab3", "qwen2_5_vl_7b", "none", "total", 60 * 60 + 17),
        ("tab3", "qwen2_5_vl_7b", "ivc_prune", "decode", 60.2),
        ("tab4", "qwen2_5_vl_7b", "ivc_prune_no_ivc", "refcoco_plus_testa", 71.3),
        ("tab5", "qwen2_5_vl_32b", "pdrop", "mmbench_dev_en_v11", 68.0),
        ("tab6", "qwen2_5_vl_7b", "pattern_ivc_20", "gqa_choose", 93.7),
        ("tab7", "internvl2_5_8b", "ivc_prune_attention", "refcoco_testa", 82.2),
        ("tab8", "internvl2_5_8b", "fastv", "grid", 54.5),
        ("tab9", "qwen2_5_vl_7b", "pdrop", "mlvu_g", 5.53),
        ("tab10", "llava_1_5_7b", "ivc_prune", "mmbench_dev_cn", 43.0),
        ("tab11", "deepseek_vl2_small", "pattern_none", "refcocog_val", 17.2),
        ("tab12_grounding", "qwen2_5_vl_7b", "sparsevlm", "refcoco_testa", 14.1),
        ("tab12_vqa", "qwen2_5_vl_7b", "sparsevlm_no_merge", "mmstar", 45.6),
        ("tab13", "qwen2_5_vl_7b", "pdrop", "ocrbench", 62.0),
        ("tab14", "qwen2_5_vl_7b", "fastv", "formula", 1.6),
        ("tab16", "llava_1_5_7b", "ivc_prune_64", "pope", 75.4),
        ("tab17", "qwen2_5_vl_7b", "ivc_prune_k_c_20", "refcoco_testa", 91.3),
        ("layer_sweep", "llava_1_5_7b", "ivc_prune", "pope", 15),
    ],
)
def test_cells_as_printed(table: str, model: str, policy: str, column: str, printed: float) -> None:
    row = TABLES[table].row(model, policy)
    assert row is not None
    assert row.values[column] == printed


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_labels_and_existing_configurations(name: str) -> None:
    table, conf = TABLES[name], files("ivcprune.conf")
    assert {row.model for row in table.rows} == set(table.models)
    assert {row.policy for row in table.rows} == set(table.policies)
    for cell in table.cells:
        assert (conf / "model" / f"{cell.model}.yaml").is_file()
        assert (conf / "data" / f"{cell.data}.yaml").is_file()


def test_ocrbench_categories_add_up_to_the_final_score() -> None:
    """Within the rounding of six printed values."""
    for row in TABLES["tab14"].rows:
        *parts, final = row.values.values()
        assert sum(part or 0 for part in parts) == pytest.approx(final, abs=0.1)


def test_the_same_runs_have_the_same_scores_in_every_table() -> None:
    """What the paper contradicts itself in is known and listed here."""
    seen: dict[tuple[str, str, str], dict[float, list[str]]] = {}
    for name, table in TABLES.items():
        for row in table.rows:
            for column in table.columns:
                value = row.values.get(column.key)
                if column.figure or column.category or len(column.data) > 1 or value is None:
                    continue
                key = (row.model, row.policy, column.data[0])
                seen.setdefault(key, {}).setdefault(value, []).append(name)
    differing = {key: sorted(values) for key, values in seen.items() if len(values) > 1}
    assert differing == CONTRADICTIONS


CONTRADICTIONS = {
    ("qwen2_5_vl_7b", "pattern_ivc_10", "refcoco_plus_testa"): [89.9, 90.0],
}


def test_a_relative_average_needs_every_column() -> None:
    vanilla: dict[str, float | None] = {"a": 50.0, "b": 80.0}
    assert relative_average({"a": 25.0, "b": 80.0}, vanilla) == pytest.approx(75.0)
    assert relative_average({"a": 25.0}, vanilla) is None
    assert relative_average({"a": 25.0, "b": None}, vanilla) is None
    assert relative_average({"a": 25.0, "b": 1.0}, {"a": 0.0, "b": 1.0}) is None
    assert relative_average({}, {}) is None


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"paper table 'tab99' does not exist: choose one of "):
        load_table("tab99")
