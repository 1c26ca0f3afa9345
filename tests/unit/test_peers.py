"""What `tools.peers` does itself: turns, ratios, the stand-in for FlashAttention."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from tools.peers import page, sides
from tools.peers.material import config_of_4
from tools.peers.plan import CASES, Case, Run
from tools.peers.readings import Clock, batch_of
from tools.peers.rounds import Journal, measure
from tools.peers.summary import agreement, net, ratio, spread, summary
from torch.nn.functional import scaled_dot_product_attention

STAND_IN = Path(sides.STAND_IN) / "flash_attn"
A, B = Run("ours", "ivc_prune", 8), Run("published", "ivc_prune")
A0, B0 = Run("ours", "none", 8), Run("published", "none")
CASE = Case("small", 256, 8, (A, A0, B, B0))


def reading(prefill, decode, kept=None, answers=((1, 2), (3, 4))):
    """The wall's time is twice the CPU's."""
    parts = {"prefill": prefill, "decode": decode, "total": prefill + decode}
    seconds = {part: [2 * value, value] for part, value in parts.items()}
    return {"seconds": seconds, "kept": kept, "answers": [list(x) for x in answers]}


def test_ratios_are_of_one_round():
    """Against medians of each run alone: 3 / 2 there."""
    rounds = [{"a": reading(x, 1), "b": reading(y, 1)} for x, y in ((1, 2), (3, 1), (8, 4))]
    found = ratio(rounds, "a", "b")["prefill"]
    assert found["cpu"] == {"median": 2.0, "low": 1.25, "high": 2.5} == found["wall"]


def test_a_single_round_has_no_spread():
    assert spread([3.0]) == {"median": 3.0, "low": 3.0, "high": 3.0}


def test_what_the_versions_differ_by_is_not_in_the_net_ratio():
    """Both prune to a half; the other side is three times as slow with and without."""
    one = {"a": reading(1, 1), "a0": reading(2, 2), "b": reading(3, 3), "b0": reading(6, 6)}
    assert net([one], "a", "a0", "b", "b0")["total"]["median"] == 1.0
    assert ratio([one], "a", "b")["total"]["cpu"]["median"] == pytest.approx(1 / 3)


def test_agreement_counts_tokens_kept_by_both():
    a = reading(1, 1, kept=[[1, 2, 3], [4, 5, 6]])
    b = reading(1, 1, kept=[[1, 2, 9], [6, 5, 4]], answers=((1, 2), (3, 5)))
    found = agreement({"a": a, "b": b}, "a", "b")
    assert found == {"samples": 2, "answers_equal": 1, "kept": 6, "kept_by_both": 5}


def test_each_unpruned_run_is_compared_with_our_unpruned_one():
    times = [{run.name: reading(i + 1, 1) for i, run in enumerate(CASE.runs)}]
    peaks = [{run.name: {"mib": 10.0 * (i + 1)} for i, run in enumerate(CASE.runs)}]
    found = summary(CASE, times, peaks)
    pruned, bare = (found["ours_over_theirs"][run.name] for run in (B, B0))
    assert (pruned["ours"], bare["ours"]) == (A.name, A0.name)
    assert (pruned["peak"], bare["peak"]) == (1 / 3, 0.5)
    assert pruned["seconds"]["prefill"]["cpu"]["median"] == pytest.approx(1 / 3)
    assert "net_of_bare" not in bare
    rate = found["runs"][A.name]
    assert rate["samples_per_cpu_second"] == 4.0  # 8 samples in 2 seconds
    assert rate["token_ms"] == pytest.approx(1000 / 31)  # one batch of all 8
    assert found["runs"][B.name]["token_ms"] == pytest.approx(1000 / 31 / 8)


def test_the_page_names_what_was_left_out_and_each_pair():
    times = [{run.name: reading(1, 1) for run in CASE.runs}]
    peaks = [{run.name: {"mib": 1.0} for run in CASE.runs}]
    facts = {"device": "a CPU", "cpu_threads": 1, "versions": {}, "layer": 8, "text_tokens": 60}
    facts |= {"new_tokens": 32, "published": "https://example.org/code abc"}
    record = {"facts": facts, "left_out": {"kvpress": "no network"}}
    text = page.page(record | {"cases": {"small": summary(CASE, times, peaks)}})
    assert "Left out here: kvpress: no network" in text
    assert f"| {B.name} | {A.name} | 1.00 (1.00 to 1.00) |" in text


def test_rounds_take_turns_and_go_on_after_a_stop(tmp_path):
    file, asked = tmp_path / "rounds.jsonl", []

    def ask(do, case, run):
        asked.append(run.name)
        if len(asked) == 11:  # unread 4, first round 4, in the second
            raise KeyboardInterrupt
        return {"mib": len(asked)}

    with pytest.raises(KeyboardInterrupt):
        measure(CASE, CASE.runs, "time", 3, ask, Journal(file, {"code": "1"}))
    names = [run.name for run in CASE.runs]
    assert asked == [*names, *names, *names[:0:-1]]
    del asked[:]
    asked += ["stopped"] * 11
    found = measure(CASE, CASE.runs, "time", 3, ask, Journal(file, {"code": "1"}))
    assert asked[11:] == [*names, *names[::-1], *names]  # unread, then rounds 2 and 3
    assert [one[names[0]]["mib"] for one in found] == [5, 19, 20]
    assert len(measure(CASE, CASE.runs, "time", 3, None, Journal(file, {"code": "1"}))) == 3


def test_rounds_of_two_builds_do_not_mix(tmp_path):
    file = tmp_path / "rounds.jsonl"
    Journal(file, {"code": "1", "layer": 8})
    with pytest.raises(ValueError, match="another code"):
        Journal(file, {"code": "2", "layer": 8})


def test_a_process_answers_in_lines_and_says_why_it_ended(tmp_path):
    (tmp_path / "tools" / "peers").mkdir(parents=True)
    (tmp_path / "tools" / "peers" / "echo.py").write_text(
        'import json, sys\nprint(\'{"torch": "1"}\', flush=True)\n'
        "asked = json.loads(input())\nprint(json.dumps(asked), flush=True)\nsys.exit('no memory')\n"
    )
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {tmp_path}/tools/peers/echo.py\n")
    program.chmod(0o755)
    with sides.Process(sides.Side("echo", program), tmp_path, 1) as process:
        assert process.versions == {"torch": "1"}
        asked = process.ask("time", CASE, B)
        assert (asked["variant"], asked["batch"], asked["samples"]) == ("ivc_prune", 1, 8)
        with pytest.raises(RuntimeError, match="no memory"):
            process.ask("time", CASE, B)


def test_another_commit_of_the_published_code_is_refused(tmp_path):
    with pytest.raises(ValueError, match="which has no"):
        sides.check_published(tmp_path)
    file = tmp_path / sides.MODELING
    file.parent.mkdir(parents=True)
    file.write_text("changed")
    with pytest.raises(ValueError, match="not that of commit 03afd9c"):
        sides.check_published(tmp_path)


def test_without_the_published_code_the_others_are_compared():
    found, missing = sides.sides(["ours", "published"], None)
    assert list(found) == ["ours"]
    assert sides.COMMIT in missing["published"]


def test_the_clock_tells_prefill_from_decoding():
    clock = Clock()
    assert clock(torch.zeros(2, 5), None).tolist() == [False, False]
    clock.stamps = [(0.0, 0.0), (3.0, 1.0), (4.0, 1.5), (9.0, 2.0)]
    assert clock.spent() == {"prefill": [3.0, 1.0], "decode": [6.0, 1.0]}


def test_a_batch_takes_the_patches_of_its_samples():
    ids, patches = torch.arange(4)[:, None], torch.arange(12)[:, None]
    batch = batch_of({"input_ids": ids, "pixel_values": patches}, 1, 2)
    assert batch["input_ids"].flatten().tolist() == [1, 2]
    assert batch["pixel_values"].flatten().tolist() == [3, 4, 5, 6, 7, 8]


def test_a_configuration_as_the_older_version_reads_it():
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]}
    text = {"hidden_size": 768, "rope_parameters": rope, "model_type": "qwen2_5_vl_text"}
    config = {"model_type": "qwen2_5_vl", "text_config": text, "vision_config": {"in_channels": 3}}
    found = config_of_4(config)
    assert (found["hidden_size"], found["model_type"]) == (768, "qwen2_5_vl")
    assert found["rope_scaling"] == {"type": "mrope", "mrope_section": [8, 12, 12]}
    assert json.dumps(found).count("rope_theta") == 1


def test_every_case_begins_with_ours_pruned_and_as_it_is():
    """`summary` takes them for what all others are compared with."""
    for case in CASES.values():
        assert [(run.side, run.variant) for run in case.runs[:2]] == [
            ("ours", "ivc_prune"),
            ("ours", "none"),
        ]


@pytest.fixture(scope="module")
def flash():
    spec = importlib.util.spec_from_file_location(
        "flash_stand_in", STAND_IN / "__init__.py", submodule_search_locations=[str(STAND_IN)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["flash_stand_in"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("queries", "keys"), [(7, 7), (1, 7), (3, 7)])
def test_the_stand_in_attends_as_sdpa_with_the_last_query_at_the_last_key(flash, queries, keys):
    torch.manual_seed(0)
    q, k = torch.randn(2, queries, 4, 8), torch.randn(2, keys, 2, 8)
    v = torch.randn(2, keys, 2, 8)
    mask = torch.arange(keys)[None] <= torch.arange(queries)[:, None] + keys - queries
    wide = (x.transpose(1, 2).repeat_interleave(2, dim=1) for x in (k, v))
    expected = scaled_dot_product_attention(q.transpose(1, 2), *wide, attn_mask=mask)
    found = flash.flash_attn_func(q, k, v, causal=True)
    torch.testing.assert_close(found, expected.transpose(1, 2))


def test_the_stand_in_keeps_sequences_apart(flash):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 9, 2, 8)
    ends = torch.tensor([0, 4, 9])
    found = flash.flash_attn_varlen_func(q, k, v, ends, ends, 5, 5)
    one = torch.arange(9) < 4
    mask = one[:, None] == one
    parts = (x.transpose(0, 1) for x in (q, k, v))
    expected = scaled_dot_product_attention(*parts, attn_mask=mask).transpose(0, 1)
    torch.testing.assert_close(found, expected)


def test_the_stand_in_rotates_halves(flash):
    """(1, 0 | 0, 1) by a quarter turn: (x1, x2) becomes (-x2, x1)."""
    rotary = importlib.import_module("flash_stand_in.layers.rotary")
    angle = torch.full((1, 2), math.pi / 2)
    x = torch.tensor([1.0, 0.0, 0.0, 1.0]).view(1, 1, 1, 4)
    turned = rotary.apply_rotary_emb(x, angle.cos(), angle.sin()).flatten()
    torch.testing.assert_close(turned, torch.tensor([0.0, -1.0, 1.0, 0.0]), atol=1e-6, rtol=0)


def test_the_stand_in_refuses_what_it_cannot(flash):
    x = torch.zeros(1, 1, 1, 8)
    with pytest.raises(ValueError, match=r"dropout_p is 0\.1"):
        flash.flash_attn_func(x, x, x, 0.1)
    padding = importlib.import_module("flash_stand_in.bert_padding")
    with pytest.raises(NotImplementedError, match="no padded batches"):
        padding.unpad_input(x, None)
