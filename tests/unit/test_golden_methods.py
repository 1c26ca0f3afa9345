"""Newer methods against what their authors' code keeps on the same inputs."""

from __future__ import annotations

import pytest
import torch

from golden_methods import INDEX, Case, cases
from ivcprune.selectors import (
    CDPrunerSelector,
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


def test_every_case_says_where_it_is_from():
    for entry in INDEX.values():
        assert set(entry) == {"repository", "commit", "run", "stubbed", "cases"}
        assert len(entry["commit"]) == 40
        assert all("seed" in params for params in entry["cases"].values())


def test_stored_vectors_are_finite():
    for method in INDEX:
        for case in cases(method):
            assert all(torch.as_tensor(x).float().isfinite().all() for x in case.arrays.values())
