"""Newer methods against what their authors' code keeps on the same inputs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from golden_methods import INDEX, Case, cases
from ivcprune.selectors import (
    CDPrunerSelector,
    DivPruneSelector,
    DyCokeSelector,
    FastVIDSelector,
    HoloVSelector,
    PruMergeSelector,
    ScopeSelector,
    SparseVLMPlusSelector,
    VisionZipSelector,
    VisPrunerSelector,
)
from ivcprune.selectors.base import decision
from visual_tokens_helpers import tokens_of

CLOSE = {"rtol": 0.0, "atol": 1e-5}


def kept(selector, tokens):
    """Numbers of the kept tokens of the only sample."""
    keep = decision(selector, tokens).keep & tokens.valid
    return sorted(tokens.ordinal[keep].tolist())


def states_of_kept(selector, tokens):
    """States of the kept tokens of the only sample, in input order, `[K, E]`."""
    chosen = decision(selector, tokens)
    keep = chosen.keep & tokens.valid
    return chosen.merged[keep][tokens.ordinal[keep].argsort()]


def each(method):
    found = list(cases(method))
    assert found
    return pytest.mark.parametrize("case", found, ids=lambda case: case.name)


@each("vispruner")
def test_vispruner(case: Case):
    selector = VisPrunerSelector(keep=case.params["T"], important=case.params["r"])
    assert kept(selector, case.tokens()) == case.kept


@each("scope")
def test_scope(case: Case):
    selector = ScopeSelector(keep=case.params["k"], alpha=case.params["alpha"])
    assert kept(selector, case.tokens()) == case.kept


@each("holov")
def test_holov(case: Case):
    """Where the official code pads with zero vectors, the budget is filled with other tokens."""
    k, n_padded = case.params["k"], case.params["padded"]
    found = kept(HoloVSelector(keep=k, runs=case.params["runs"]), case.tokens())
    assert len(found) == k
    assert set(found) >= set(case.kept)
    assert len(set(found) - set(case.kept)) == n_padded


@each("cdpruner")
def test_cdpruner(case: Case):
    selector = CDPrunerSelector(keep=case.params["k"], inverse=True)
    assert kept(selector, case.tokens()) == case.kept


@each("dycoke")
def test_dycoke(case: Case):
    """Where the number of frames is odd, the official code drops the last one."""
    frames, (height, width) = case.params["frames"], case.params["grid"]
    found = kept(DyCokeSelector(merging=case.params["k"]), case.tokens())
    compared = frames // 2 * 2 * height * width
    assert [n for n in found if n < compared] == case.kept
    assert [n for n in found if n >= compared] == list(range(compared, frames * height * width))


@each("visionzip")
def test_visionzip(case: Case):
    n_dominant, n_contextual = case.params["dominant"], case.params["contextual"]
    total = n_dominant + n_contextual
    selector, tokens = VisionZipSelector(keep=total, dominant=n_dominant / total), case.tokens()
    assert kept(selector, tokens) == case.kept
    torch.testing.assert_close(states_of_kept(selector, tokens), case["merged"], **CLOSE)


@each("prumerge")
def test_prumerge(case: Case):
    selector, tokens = PruMergeSelector(plus=case.params["plus"]), case.tokens()
    assert kept(selector, tokens) == case.kept
    torch.testing.assert_close(states_of_kept(selector, tokens), case["merged"], **CLOSE)
    added = decision(selector, tokens).added
    torch.testing.assert_close(added.states[added.valid], case["added"], **CLOSE)


@each("fastvid")
def test_fastvid(case: Case):
    params = case.params
    selector = FastVIDSelector(
        keep=params["retention"],
        context=params["d"],
        segments=params["c"],
        similar=params["tau"],
        stride=params["p"],
        own=params["beta"],
    )
    tokens = case.tokens()
    assert kept(selector, tokens) == case.kept
    torch.testing.assert_close(states_of_kept(selector, tokens), case["merged"], **CLOSE)


@each("sparsevlm_plus")
def test_sparsevlm_plus(case: Case):
    assert kept(SparseVLMPlusSelector(keep=case.params["k"]), case.tokens()) == case.kept


@pytest.mark.parametrize(
    "selector",
    [
        CDPrunerSelector(keep=0.3),
        DivPruneSelector(keep=0.3),
        HoloVSelector(keep=0.3),
        PruMergeSelector(keep=0.3),
        ScopeSelector(keep=0.3),
        VisPrunerSelector(keep=0.3),
        VisionZipSelector(keep=0.3),
    ],
    ids=lambda selector: type(selector).__name__,
)
def test_how_many_stay_is_known_beforehand(selector):
    """Before anything is computed: no model is needed to answer."""
    tokens = replace(tokens_of((5, 6), (3, 7)), signals=None)
    assert selector.sizes(tokens) == [9, 6]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_fewer_eligible_tokens_than_the_budget(n):
    """All of them stay, and nothing else."""
    tokens = tokens_of((4, 5))
    few = tokens.restrict(torch.arange(20)[None] < n)
    for kind in (CDPrunerSelector, HoloVSelector, ScopeSelector, VisPrunerSelector):
        assert kept(kind(keep=0.5), few) == list(range(n))
    for kind in (PruMergeSelector, VisionZipSelector):
        assert kept(kind(keep=0.5), few) == list(range(n))


class TestVisPruner:
    def test_odd_lists_by_hand(self):
        """Of three others the even places are 0 and 2: the one like place 1 goes."""
        case = next(cases("vispruner"))
        features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [1.0, 1.0]])
        arrays = {"features": features, "attention": torch.tensor([0.3, 0.2, 0.1, 0.9])}
        tokens = replace(case, params={"grid": [2, 2]}, arrays=arrays).tokens()
        assert kept(VisPrunerSelector(keep=3, important=0.34), tokens) == [1, 2, 3]


class TestCDPruner:
    def test_without_text_all_is_relevant(self):
        """Then the choice is by diversity alone, whatever the sign."""
        case = next(cases("cdpruner"))
        tokens = tokens_of((4, 5), before=0, after=0)
        plain, inverse = (kept(CDPrunerSelector(keep=6, inverse=x), tokens) for x in (False, True))
        assert plain == inverse
        signs = (kept(CDPrunerSelector(keep=6, inverse=x), case.tokens()) for x in (False, True))
        assert next(signs) != next(signs)


class TestPruMerge:
    def test_without_outliers_the_most_attended_token_stays(self):
        attention = torch.full((12,), 0.05)
        attention[7] = 0.0500001
        case = next(cases("prumerge"))
        arrays = {name: case[name][..., :12, :] for name in ("embeddings", "vision_keys")}
        given = replace(case, params={"grid": [3, 4]}, arrays={**arrays, "attention": attention})
        assert 7 in kept(PruMergeSelector(plus=False, neighbours=2), given.tokens())

    def test_brought_to_a_share(self):
        tokens = tokens_of((4, 5))
        for plus in (False, True):
            assert len(kept(PruMergeSelector(plus=plus).with_keep(0.4), tokens)) == 8


def test_settings_that_mean_nothing_are_refused():
    for make, text in (
        (lambda: VisPrunerSelector(important=1.5), "VisPrunerSelector.important is 1.5"),
        (lambda: VisPrunerSelector(step=0), "VisPrunerSelector.step is 0"),
        (lambda: ScopeSelector(alpha=-1.0), "ScopeSelector.alpha is -1.0"),
        (lambda: HoloVSelector(runs=0), "HoloVSelector.runs is 0"),
        (lambda: PruMergeSelector(neighbours=0), "PruMergeSelector.neighbours is 0"),
        (lambda: PruMergeSelector(keep=2.0), "PruMergeSelector.keep is 2.0"),
        (lambda: DyCokeSelector(merging=-0.1), "DyCokeSelector.merging is -0.1"),
        (lambda: FastVIDSelector(stride=0), "FastVIDSelector.stride is 0"),
        (lambda: SparseVLMPlusSelector(heads=0), "SparseVLMPlusSelector.heads is 0"),
        (lambda: VisionZipSelector(dominant=-1.0), "VisionZipSelector.dominant is -1.0"),
    ):
        with pytest.raises(ValueError, match=text.replace(".", r"\.")):
            make()


def test_every_case_says_where_it_is_from():
    for entry in INDEX.values():
        assert set(entry) == {"repository", "commit", "run", "stubbed", "cases"}
        assert len(entry["commit"]) == 40
        assert all("seed" in params for params in entry["cases"].values())


def test_stored_vectors_are_finite():
    for method in INDEX:
        for case in cases(method):
            assert all(torch.as_tensor(x).float().isfinite().all() for x in case.arrays.values())
