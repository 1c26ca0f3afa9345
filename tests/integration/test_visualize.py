"""`job=visualize`: a picture of one's own, asked with all tokens and with a policy."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ivcprune.configuration.build import build_job, compose
from ivcprune.data.scenes import load_scenes
from ivcprune.report.own_picture import draw_answers
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
    assert "(28 of 28 tokens; 100.0 % on average over layers" in said
    assert "ivc_prune: " in said
    assert "(14 of 28 tokens; 50.0 % on average over layers" in said
    with Image.open(tmp_path / "visualize" / "noise-ivc_prune-tiny.png") as drawn:
        pixels = np.asarray(drawn.convert("RGB"))
    # noise, dimmed noise and two maps: far more than a blank page
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


def test_the_picture_says_who_answered_what_and_where(monkeypatch, tmp_path):
    """Policy, answer, what is left, the predicted box, and scales for V and U."""
    scene = load_scenes("test", size=2, seed=0, cache_dir=tmp_path)[0]
    scene["images"][0].save(tmp_path / "scene.png")
    drawn = []
    monkeypatch.setattr(
        "ivcprune.jobs.visualize.draw_answers",
        lambda *given: drawn.append((given, draw_answers(*given))) or drawn[-1][1],
    )
    visualize(
        tmp_path,
        f"job.image={tmp_path / 'scene.png'}",
        f"job.prompt='{scene['question']}'",
        "job.task=grounding",
    )
    ((_, whole, pruned, *_), figure), *_ = drawn
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert list(panels) == [
        f"none: “{whole.reply}”\nall tokens",
        f"ivc_prune: “{pruned.reply}”\n27 of 54 tokens; 50.0 % on average over layers",
        "V(m) of each token",
        "U(m) of each token",
    ]
    assert figure.get_suptitle() == f"tiny: {scene['question']}"
    # the model sees 252 x 168 as it is, so that the box is where its reply says
    x1, y1, x2, y2 = map(float, pruned.reply.split())
    assert pruned.box == (x1, y1, x2, y2)
    frame = list(panels.values())[1].patches[-1]
    drawn_box = (*frame.get_xy(), frame.get_width(), frame.get_height())
    assert drawn_box == (x1, y1, x2 - x1, y2 - y1)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "predicted box",
        "dropped tokens",
        "implicit coordinates: 10 % by V(m), as many by U(m)",
    ]
