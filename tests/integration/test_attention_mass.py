"""Attention mass of token sets: equal to sums of the eager model's weights; the job as a whole."""

from __future__ import annotations

import json

import pytest
import torch

from ivcprune import prune
from ivcprune.analysis.attention_mass import Mass, check_sets, probing_policy
from ivcprune.analysis.densities import summarise
from ivcprune.configuration.build import build_job, compose
from ivcprune.selectors import BorderSelector, FirstTokenSelector, IVCSelector, SeedSelector
from ivcprune.testing import tiny_model
from pruning_helpers import batch, picture


def test_mass_is_the_sum_of_the_eager_weights():
    model, processor = tiny_model("qwen2_5_vl")
    model.set_attn_implementation("eager")
    inputs = batch(
        processor,
        ("where is it", [picture(140, 112)]),
        ("how many", [picture(84, 112, 1), picture(56, 84, 2)]),
    )
    policy, found = probing_policy({"first": FirstTokenSelector(keep=3)}, layers=range(4))
    with prune(model, policy), torch.no_grad():
        attentions = model(**inputs, output_attentions=True).attentions
    assert len(found) == 4 * 2 * 2
    visual = inputs["input_ids"] == model.config.image_token_id
    length = visual.shape[1]
    images = [[20], [12, 6]]
    for sample, sizes in enumerate(images):
        places = visual[sample].nonzero()[:, 0]
        # a vision-end and a vision-start token lie between the two images
        in_set = [places[sum(sizes[:i]) + j] for i in range(len(sizes)) for j in range(3)]
        after = torch.arange(length) > places[-1] + 2
        for layer in range(4):
            weights = attentions[layer][sample].mean(dim=0)
            asked = {"last": weights[-1], "question": weights[after].mean(dim=0)}
            for asking, row in asked.items():
                mass = [m for m in found if (m.layer, m.asking) == (layer, asking)][sample]
                assert mass.visual == pytest.approx(float(row[places].sum()), abs=1e-5)
                assert mass.mass == pytest.approx(float(row[torch.stack(in_set)].sum()), abs=1e-5)
                assert mass.size == pytest.approx(3 * len(sizes) / sum(sizes))
                share = mass.mass / mass.visual
                assert mass.density == pytest.approx(share / mass.size)


def test_a_sample_without_a_picture_is_no_sample():
    model, processor = tiny_model("qwen2_5_vl")
    inputs = batch(
        processor,
        ("where is it", [picture(140, 112)]),
        ("no picture at all", []),
        ("how many", [picture(84, 112, 1)]),
    )
    policy, found = probing_policy({"first": FirstTokenSelector(keep=3)}, layers=range(4))
    with prune(model, policy), torch.no_grad():
        model(**inputs)
    assert [mass.size for mass in found] == [3 / 20, 3 / 12] * 4 * 2


def test_summaries_average_over_samples():
    masses = [Mass(0, "last", "ivc", 0.2, mass, 0.5) for mass in (0.1, 0.2, 0.3)]
    (summary,) = summarise(masses)
    assert summary.n == 3
    assert summary.mass == pytest.approx(0.2)
    assert summary.density == pytest.approx(2.0)
    assert 1.0 <= summary.low < 2.0 < summary.high <= 3.0


def test_sets_that_depend_on_content_are_refused():
    check_sets({"ivc": IVCSelector(), "border": BorderSelector()})
    with pytest.raises(ValueError, match=r"job\.sets\.seeds needs values"):
        check_sets({"seeds": SeedSelector()})
    with pytest.raises(TypeError, match=r"job\.sets\.x is 3: it must be a selector"):
        check_sets({"x": 3})


def test_the_job_writes_its_figures(tmp_path, capsys):
    overrides = ["job=attention_mass", "data.limit=4", "data.size=8", "threads=1"]
    cfg = compose([*overrides, f"paths.output_dir={tmp_path}", f"paths.cache_dir={tmp_path}"])
    build_job(cfg)(cfg)
    said = " ".join(capsys.readouterr().out.split())
    assert "attention per token, average visual token of the sample = 1; asked by: last" in said
    folder = tmp_path / "attention_mass"
    summaries = json.loads((folder / "attention_mass.json").read_text())
    assert {s["tokens"] for s in summaries} == {"ivc", "random", "border", "first"}
    assert {s["layer"] for s in summaries} == set(range(6))
    assert all(s["n"] == 4 for s in summaries)
    # matched: every control is as large as the coordinates
    assert len({round(s["size"], 9) for s in summaries}) == 1
    assert (folder / "attention_mass.png").read_bytes().startswith(b"\x89PNG")
