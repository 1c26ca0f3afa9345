"""`job=check_data`: what it prints, draws and complains of."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from PIL import Image

from benchmark_fixtures import FIXTURES
from ivcprune.configuration.build import build_job, compose
from ivcprune.report.contact_sheet import Card, draw_contact_sheet
from ivcprune.report.fonts import lettering_for
from source_formats import as_base64, png, write_table

BY_NAME = {fixture.name: fixture for fixture in FIXTURES}


def check(folder: Path, *overrides: str) -> Path:
    paths = [f"paths.cache_dir={folder / 'cache'}", f"paths.output_dir={folder / 'out'}"]
    cfg = compose(["job=check_data", *paths, *overrides])
    path = build_job(cfg)(cfg)
    assert isinstance(path, Path)
    return path


@pytest.mark.parametrize("name", ["refcoco_testa", "hallusionbench", "mvbench"])
def test_samples_are_counted_and_drawn(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    fixture = BY_NAME[name]
    source = fixture.write(tmp_path)
    with caplog.at_level(logging.WARNING, logger="ivcprune"):
        path = check(tmp_path, f"data={name}", *source, "job.samples=5", "model=qwen2_5_vl_7b")
    out = capsys.readouterr().out
    n = 10 if name == "refcoco_testa" else 8
    assert f"{n}, expected {n}" in out
    assert f"{n - 1} of {n} tried" in out
    assert f"{fixture.failed[0]} cannot be decoded" in caplog.text
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width == 1600  # of at most four cards beside each other
        assert 600 < sheet.height < 1000  # two rows


def test_the_subset_of_a_run_is_what_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["data=scenes", "data.size=6", "data.limit=3", "data.subset_seed=1"]
    path = check(tmp_path, *options, "job.decode=null")
    assert "3 of 3 tried" in capsys.readouterr().out
    with Image.open(path) as sheet:
        assert sheet.width == 1200
        assert 300 < sheet.height < 400


def test_cards_are_as_high_as_their_text(tmp_path: Path) -> None:
    def height(prompt: str) -> int:
        card = Card("a · vqa", Image.new("RGB", (30, 20)), "images: 1", prompt, "B")
        draw_contact_sheet([card], tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as sheet:
            return sheet.height

    one, many, endless = (height("\n".join(["line"] * n)) for n in (1, 10, 10_000))
    assert one < many < endless < 2 * one


NOWHERE = "\U0010fffd"
"""A character that no font has."""


@pytest.mark.filterwarnings("error")  # matplotlib warns of each character that it draws as a box
def test_characters_without_a_font_are_named_where_they_stand(tmp_path: Path) -> None:
    text = f"{NOWHERE * 3} and 这是什么?"
    card = Card(f"{NOWHERE} · vqa", None, "images: 0", text, "$B$")
    missing = draw_contact_sheet([card], tmp_path / "sheet.png")
    assert NOWHERE in missing
    assert missing <= set(text)
    shown = lettering_for(text).legible(text)
    assert shown.startswith("[3 characters without a font] and ")
    assert not missing & set(shown)


def test_an_installed_font_is_found_for_what_the_first_one_lacks() -> None:
    # An arc, which DejaVu Sans Mono has, of matplotlib as well, and DejaVu Sans has not.
    lettering = lettering_for("a\u2312")
    assert lettering.families[0] == "DejaVu Sans"
    assert len(lettering.families) == 2
    assert lettering.missing == frozenset()
    assert lettering_for("plain").families == ("DejaVu Sans",)


def test_missing_fonts_are_told_on_the_console(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"index": "0", "image": as_base64(png()), "question": NOWHERE, "answer": "A",
           "category": ""} | dict(zip("ABCD", "wxyz", strict=True))  # fmt: skip
    write_table(tmp_path / "t.tsv", [row])
    options = [f"data.path={tmp_path / 't.tsv'}", "data.md5=null", "data.expected_rows=null"]
    with caplog.at_level(logging.WARNING, logger="ivcprune"):
        check(tmp_path, "data=mmstar", *options, "data.expected_samples=1")
    assert f"no installed font has 1 of the characters ({NOWHERE})" in caplog.text


def test_a_wrong_number_of_rows_stops_it(tmp_path: Path) -> None:
    source = BY_NAME["mme"].write(tmp_path)
    with pytest.raises(ValueError, match="'mme' has 8 rows where 2374 are expected"):
        check(tmp_path, "data=mme", *source, "data.expected_rows=2374")
