"""Later families on the command line, cheaply: predict, report and visualize."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from family_run import save_tiny
from ivcprune import cli
from pruning_helpers import picture

MODELS = {
    "gemma3": "gemma3_4b",
    "gemma4": "gemma4_31b",
    "glm4v": "glm4_1v_9b",
    "idefics3": "smolvlm_2b",
    "llava_next": "llava_next_7b",
    "mistral3": "ministral_3_8b",
    "paddleocr_vl": "paddleocr_vl",
    "qwen3_5": "qwen3_5_9b",
    "qwen3_5_moe": "qwen3_5_moe_35b_a3b",
    "qwen3_vl_moe": "qwen3_vl_30b_a3b",
}
"""A file of `conf/model/` for each, whose prompts and form of boxes apply."""


@pytest.mark.parametrize("family", MODELS)
def test_predict_report_and_visualize(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save_tiny(family, tmp_path / "checkpoint")
    outputs = tmp_path / "outputs"
    where = [f"paths.output_dir={outputs}", f"paths.cache_dir={tmp_path / 'cache'}", "threads=1"]
    model = [f"model={MODELS[family]}", f"model.path={checkpoint}", "model.max_new_tokens=2"]

    def ivcprune(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["ivcprune", *arguments, *where])
        cli.main()
        return capsys.readouterr().out

    data = ["data=scenes", "data.size=4", "data.limit=4", "batch_size=4", "trainer=cpu"]
    ivcprune(*model, *data, "policy=ivc_prune")
    (samples,) = outputs.glob("default/*/samples.parquet")
    rows = pq.read_table(samples).to_pylist()
    answered = [row for row in rows if row["error"] is None]
    assert {row["task"] for row in answered} == {"grounding", "vqa"}
    assert all(0 < row["n_kept"] < row["n_visual"] for row in answered)

    assert "ivc_prune" in ivcprune("job=report", "job.gallery=0")

    picture(140, 112).save(tmp_path / "noise.png")
    asked = [f"job.image={tmp_path / 'noise.png'}", "job.prompt='what is it'"]
    ivcprune("job=visualize", *model, *asked, "policy=random")
    with Image.open(outputs / "visualize" / f"noise-random-{MODELS[family]}.png") as drawn:
        assert drawn.width > 200
