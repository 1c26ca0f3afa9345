"""`job=visualize`: a picture of one's own, asked with all tokens and with a policy."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ivcprune.configuration.build import build_job, compose
from pruning_helpers import picture


def visualize(tmp_path, *overrides):
    cfg = compose(["job=visualize", "threads=1", f"paths.output_dir={tmp_path}", *overrides])
    build_job(cfg)(cfg)


def test_prints_both_answers_and_draws_the_picture(tmp_path, capsys):
    picture(196, 112).save(tmp_path / "noise.png")
    visualize(
        tmp_path,
        f"job.image={tmp_path / 'noise.png'}",
        "job.prompt='the red circle'",
        "job.task=grounding",
    )
    said = " ".join(capsys.readouterr().out.split())
    assert "none: " in said
    assert "(28 of 28 visual tokens at the end, 100.0 % on average" in said
    assert "ivc_prune: " in said
    assert "(14 of 28 visual tokens at the end, 50.0 % on average" in said
    with Image.open(tmp_path / "visualize" / "noise-ivc_prune-tiny.png") as drawn:
        pixels = np.asarray(drawn.convert("RGB"))
    # noise, dimmed noise and two maps: far more than a blank page
    assert pixels.shape[1] > 3 * pixels.shape[0]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000


def test_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"job\.image=photo\.jpg job\.prompt="):
        visualize(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"job\.image='nowhere\.png': there is no such"):
        visualize(tmp_path, "job.image=nowhere.png", "job.prompt=what")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken\.png' cannot be used: UnidentifiedImageError"):
        visualize(tmp_path, f"job.image={tmp_path / 'broken.png'}", "job.prompt=what")
    with pytest.raises(ValueError, match="has no prompt for the task 'poetry'"):
        visualize(
            tmp_path,
            f"job.image={tmp_path / 'broken.png'}",
            "job.prompt=what",
            "job.task=poetry",
        )
