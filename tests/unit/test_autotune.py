"""Targets, candidates, costs and the choice of `job=autotune`, by hand; no model runs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from ivcprune.api import load_policy
from ivcprune.autotune.agreement import divergence, mean_over_real, real_tokens
from ivcprune.autotune.budgets import check_before_loading, settled
from ivcprune.autotune.candidates import Candidate, Draft, Refusal, drafts_of
from ivcprune.autotune.choice import Interval, Outcome, chosen_of, outcomes_of
from ivcprune.autotune.cost import Prefills
from ivcprune.autotune.page import Result, cells_of, policy_name, write
from ivcprune.autotune.rows import FILE, Agreement, Findings
from ivcprune.autotune.target import Target
from ivcprune.configuration.build import build_model_spec, compose
from ivcprune.efficiency.layer_flops import LayerFlops
from ivcprune.report.formats import DASH

SPEC = build_model_spec(compose(["model=tiny"]))
LINEAR = Prefills([LayerFlops(linear=1.0, square=0.0)] * 6)


def drafts(*methods: str, layers: list[int] | None = None) -> list[Draft]:
    return drafts_of(methods, layers, SPEC)[0]


class TestTarget:
    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({"kv": None, "prefill": None}, "job.target is empty"),
            ({"kv": 1.5}, r"job.target.kv is 1.5: it must be in \(0, 1\]"),
            ({"kv": True}, "job.target.kv is True"),
            ({"prefill": 0}, "job.target.prefill is 0"),
            ({"kv": 0.5, "time": 0.5}, "job.target is 'time': choose one of kv, prefill"),
        ],
    )
    def test_a_mistake_is_named(self, given: dict, sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            Target.of(given)

    def test_both_costs_count_and_a_point_is_given_away(self) -> None:
        both = Target(kv=0.5, prefill=0.7)
        assert both.is_met_by(0.509, 0.7)
        assert not both.is_met_by(0.52, 0.6)
        assert not both.is_met_by(0.4, 0.72)
        assert Target(prefill=0.7).is_met_by(1.0, 0.7)


class TestCandidates:
    def test_every_layer_where_a_method_finds_what_it_asks_for(self) -> None:
        found = [draft.label for draft in drafts("ivc_prune", "divprune", "pdrop", "ivc_prune")]
        assert found == [
            *(f"ivc_prune, layer {k}" for k in range(1, 6)),
            *(f"divprune, layer {k}" for k in range(6)),
            "pdrop, layers 2, 4, 5",
        ]

    def test_what_cannot_be_is_left_out_with_its_reason(self) -> None:
        found, refused = drafts_of(["ivc_prune", "none"], [0, 2], SPEC)
        assert [draft.label for draft in found] == ["ivc_prune, layer 2"]
        reasons = {one.label: one.reason for one in refused}
        assert "needs values of a previous layer" in reasons["ivc_prune, layer 0"]
        assert reasons["none"] == "it prunes nothing"
        with pytest.raises(ValueError, match="policy=fast_v does not exist: did you mean 'fastv'"):
            drafts("fast_v")

    def test_coordinates_are_added_to_every_candidate(self) -> None:
        found, refused = drafts_of(["fastv", "divprune", "ivc_only"], [2], SPEC, ivc=True)
        labels = ["fastv + IVC, layer 2", "divprune + IVC, layer 2"]
        assert [draft.label for draft in found] == labels
        assert [one.label for one in refused] == ["ivc_only + IVC"]
        (plain,) = drafts("fastv", layers=[2])
        one, other = (draft.candidate(0.5) for draft in (found[0], plain))
        assert one.policy.ivc
        assert one.config["ivc"] is True
        assert one.key != other.key

    def test_a_layer_too_late_for_the_caches_is_told_with_the_nearest_share(self) -> None:
        (late,) = drafts("fastv", layers=[3])
        refusal = check_before_loading(late, Target(kv=0.5))
        assert refusal is not None
        assert "kv 50 % cannot be reached" in refusal.reason
        assert refusal.nearest["kv"] == pytest.approx(0.5)
        assert check_before_loading(late, Target(kv=0.51)) is None
        (all_layers,) = drafts("ivc_prune", layers=[3])
        assert check_before_loading(all_layers, Target(kv=0.5)) is None

    def test_layers_before_the_stage_bound_the_prefill(self) -> None:
        (late,) = drafts("ivc_prune", layers=[3])
        refusal = check_before_loading(late, Target(prefill=0.5))
        assert refusal is not None
        assert "the 3 of 6 layers before the first stage are 50.0 %" in refusal.reason
        assert check_before_loading(late, Target(prefill=0.51)) is None

    def test_the_budget_is_the_largest_within_the_target(self) -> None:
        """Layer 3 of 6, 80 visual and 20 other tokens: (3 + 3 (0.8 s + 0.2)) / 6 = 0.8, s = 0.5."""
        (draft,) = drafts("ivc_prune", layers=[3])
        sizes = [(80, 20)]
        (kv,) = settled(draft, Target(kv=0.4), [], LINEAR, sizes)
        assert (kv.average_tokens, kv.label) == (0.4, "ivc_prune, layer 3, 40 %")
        (one,) = settled(draft, Target(prefill=0.8), [], LINEAR, sizes)
        assert one.average_tokens == pytest.approx(0.5, abs=1e-5)
        (both,) = settled(draft, Target(kv=0.3, prefill=0.8), [], LINEAR, sizes)
        assert both.average_tokens == 0.3
        found = settled(draft, Target(kv=0.5), [0.25, 0.5], LINEAR, sizes)
        assert [candidate.average_tokens for candidate in found] == [0.5, 0.25]
        (fastv,) = drafts("fastv", layers=[2])
        barely = [fastv.least_tokens + 1e-12]
        assert isinstance(settled(fastv, Target(kv=0.5), barely, LINEAR, sizes), Refusal)
        unreached = settled(draft, Target(prefill=0.55), [], LINEAR, sizes)
        assert isinstance(unreached, Refusal)
        assert unreached.nearest["prefill"] == pytest.approx((3 + 3 * 0.2) / 6)
        assert "it is 60.0 %, which is the nearest" in unreached.reason

    def test_caches_from_the_stage_on_take_a_smaller_share_for_the_same_average(self) -> None:
        """FastV at layer 2 of 6 for 50 %: 2 full layers and 4 with a quarter of the tokens."""
        (draft,) = drafts("fastv", layers=[2])
        (one,) = settled(draft, Target(kv=0.5), [], LINEAR, [(80, 20)])
        assert LINEAR.expected(one.bound, [(80, 20)]) == pytest.approx((2 + 4 * 0.4) / 6)

    def test_a_key_follows_what_a_candidate_is(self) -> None:
        (draft,) = drafts("ivc_prune", layers=[2])
        half, quarter = (draft.candidate(share) for share in (0.5, 0.25))
        assert half.key == drafts("ivc_prune", layers=[2])[0].candidate(0.5).key
        assert len({half.key, quarter.key, drafts("random", layers=[2])[0].candidate(0.5).key}) == 3


class TestAgreement:
    def test_divergence_by_hand(self) -> None:
        """p = (1/2, 1/2) from q = (1/4, 3/4): ln 2 / 2 + ln(2/3) / 2 = 0.1438 nats."""
        p = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]]).log()
        q = torch.tensor([[[0.25, 0.75], [0.5, 0.5]]]).log() + 3.0  # logits may be shifted
        expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
        assert divergence(p, q)[0].tolist() == pytest.approx([expected, 0.0], abs=1e-6)
        reverse = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
        assert divergence(q, p)[0, 0].item() == pytest.approx(reverse, abs=1e-6)

    def test_more_tokens_than_a_piece_holds(self) -> None:
        p, q = torch.randn(2, 40, 7, generator=torch.Generator().manual_seed(0)).unbind(0)
        whole = divergence(p[None], q[None])
        each = torch.cat([divergence(p[None, i : i + 1], q[None, i : i + 1]) for i in range(40)], 1)
        assert torch.allclose(whole, each)

    def test_an_answer_ends_with_its_first_end(self) -> None:
        ids = torch.tensor([[5, 6, 2, 2], [2, 2, 2, 2], [5, 6, 7, 8], [5, 3, 6, 2]])
        real = [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]
        assert real_tokens(ids, [2, 3]).int().tolist() == real
        assert real_tokens(ids, None).all()
        means = mean_over_real(torch.arange(16.0).view(4, 4), torch.tensor(real).bool())
        assert means == [1.0, 4.0, 9.5, 12.5]


def row(candidate: str, sample: str, kl: float, flops: float = 5.0, kept: float = 0.5) -> Agreement:
    return Agreement(sample, "vqa", candidate, kl, 3, kl == 0.0, 10, kept, 100, flops, 10.0)


@cache
def candidate(layer: int) -> Candidate:
    return drafts("ivc_prune", layers=[layer])[0].candidate(0.5)


def outcomes(
    divergences: dict[int, list[float]], flops: dict[int, float], target: Target
) -> list[Outcome]:
    """By layer, divergences on samples, and FLOPs of 10 without pruning."""
    tried = [candidate(layer) for layer in divergences]
    rows = {
        one.key: [row(one.key, str(i), kl, flops[layer]) for i, kl in enumerate(found)]
        for one, (layer, found) in zip(tried, divergences.items(), strict=True)
    }
    return outcomes_of(tried, rows, target)


class TestChoice:
    def test_the_best_agreement_within_the_target(self) -> None:
        divergences = {1: [3.0] * 9, 2: [1.0] * 9, 3: [0.5] * 9}
        found = outcomes(divergences, {1: 6.0, 2: 7.0, 3: 8.0}, Target(prefill=0.7))
        chosen = chosen_of(found)
        assert [one.candidate.layers["select"] for one in found] == [3, 2, 1]
        assert chosen is not None
        assert chosen.candidate.layers == {"select": 2}
        assert chosen.kl == Interval(1.0, 1.0, 1.0)
        assert [one.within for one in found] == [False, True, True]
        assert (
            chosen_of(outcomes(divergences, {1: 6.0, 2: 7.0, 3: 8.0}, Target(prefill=0.5))) is None
        )

    def test_of_ties_the_cheaper_prefill_wins_and_differences_are_paired(self) -> None:
        noisy = [float(i) for i in range(9)]
        tie = [value + (0.2 if i % 2 else -0.1) for i, value in enumerate(noisy)]
        worse = [value + 0.1 for value in noisy]  # overlaps, but is worse on each sample
        found = outcomes({1: worse, 2: tie, 4: noisy}, {1: 5.0, 2: 6.0, 4: 7.0}, Target(kv=0.5))
        ties = {one.candidate.layers["select"]: one.ties for one in found}
        assert ties == {1: False, 2: True, 4: True}
        chosen = chosen_of(found)
        assert chosen is not None
        assert chosen.candidate.layers == {"select": 2}

    def test_of_alike_prefills_the_better_agreement_wins(self) -> None:
        divergences = {1: [1.0, 0.0, 0.0, 0.0], 2: [0.0, 0.0, 0.0, 0.0]}
        found = outcomes(divergences, {1: 6.0, 2: 6.05}, Target(kv=0.5))
        chosen = chosen_of(found)
        assert chosen is not None
        assert chosen.candidate.layers == {"select": 2}
        assert [one.on_frontier for one in found] == [True, True]

    def test_the_frontier_is_what_nothing_beats(self) -> None:
        divergences = {1: [2.0] * 3, 2: [3.0] * 3, 3: [1.0] * 3}
        found = outcomes(divergences, {1: 5.0, 2: 6.0, 3: 7.0}, Target(kv=0.5))
        assert {one.candidate.layers["select"]: one.on_frontier for one in found} == {
            1: True,
            2: False,
            3: True,
        }


class TestFiles:
    def test_findings_are_read_back_and_a_torn_line_is_computed_again(self, tmp_path: Path) -> None:
        findings = Findings(tmp_path)
        findings.add([row("a", "1", 0.5), row("a", "2", 0.0)])
        findings.close()
        with (tmp_path / FILE).open("a") as file:
            file.write('{"sample_id": "3", "cand')
        again = Findings(tmp_path)
        assert not again.lacks("a", "2")
        assert again.lacks("a", "3")
        assert again.lacks("b", "1")
        again.add([row("a", "3", 0.25)])
        again.close()
        rows = Findings(tmp_path).of(["a", "b"], ["3", "1", "4"])
        assert [one.kl for one in rows["a"]] == [0.25, 0.5]
        assert rows["b"] == []

    def test_what_was_found_of_another_prompt_or_picture_is_forgotten(self, tmp_path: Path) -> None:
        findings = Findings(tmp_path)
        findings.add([replace(row(key, "1", 0.5), asked="old") for key in ("none", "a")])
        findings.forget_other("1", "old")
        assert not findings.lacks("a", "1")
        findings.forget_other("1", "new")
        assert findings.lacks("a", "1")
        findings.add([replace(row("a", "1", 0.25), asked="new")])
        findings.close()
        again = Findings(tmp_path)
        again.forget_other("1", "new")
        again.close()
        assert {k: [one.kl for one in r] for k, r in again.of(["none", "a"], ["1"]).items()} == {
            "none": [],
            "a": [0.25],
        }

    def test_page_and_policy(self, tmp_path: Path) -> None:
        found = outcomes({1: [3.0] * 9, 2: [1.0] * 9}, {1: 6.0, 2: 7.0}, Target(kv=0.5))
        result = Result(
            model="tiny",
            data="my <prompts>",
            target=Target(kv=0.5),
            outcomes=found,
            chosen=chosen_of(found),
            noise=Interval(0.0, 0.0, 0.0),
            refused=[Refusal("fastv, layer 5", "kv 50 % cannot be reached")],
            failed={"dart, layer 2, 50 %": "ValueError: no keys"},
            unread={"7": "the image is missing"},
            ids=[str(i) for i in range(9)],
            seconds=1.0,
        )
        file = write(tmp_path, result)
        assert file is not None
        page = (tmp_path / "autotune.html").read_text()
        assert "Chosen for kv 50 %: ivc_prune, layer 2, 50 %, at 50.0 % of the visual" in page
        assert "my &lt;prompts&gt;" in page
        for told in ("dart, layer 2, 50 %: ValueError: no keys", "7: the image is missing",
                     "fastv, layer 5: kv 50 % cannot be reached"):  # fmt: skip
            assert told in page
        assert page.count('<tr class="best">') == 1
        content = json.loads((tmp_path / "autotune.json").read_text())
        assert content["chosen"] == "ivc_prune, layer 2, 50 %"
        assert [one["kl"]["value"] for one in content["candidates"]] == [1.0, 3.0]
        assert content["candidates"][1]["to_best"]["value"] == 2.0
        assert (tmp_path / "autotune.png").read_bytes().startswith(b"\x89PNG")
        assert cells_of(found[0])[5] == f"1000.00 (1000.00{DASH}1000.00)"
        loaded = load_policy(str(file), family="qwen2_5_vl")
        assert loaded.name == policy_name(result)
        assert loaded.stages["select"].layer == 2
        assert loaded.average_tokens == 0.5
        assert load_policy(str(file), "average_tokens=0.25").average_tokens == 0.25
        (again,) = drafts(str(file), layers=[4])
        assert again.label == f"{file.stem}, layer 4"
