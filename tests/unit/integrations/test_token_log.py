"""The side file of kept tokens, the refusal of blind batches, and identities for caches."""

import json
from types import SimpleNamespace

import pytest
import torch

from ivcprune import load_policy
from ivcprune.integrations.doc_order import DocOrder, NotedTasks
from ivcprune.integrations.token_log import (
    TokenLog,
    TokenRow,
    check_identity,
    identity_of,
    rows_of,
)


def stats(n_visual, kept):
    shares = [k / n if n else 1.0 for n, k in zip(n_visual, kept, strict=True)]
    return SimpleNamespace(
        n_visual=n_visual,
        kept=[torch.arange(n) for n in kept],
        n_added=[0] * len(kept),
        average_tokens_per_sequence=shares,
        kv_bytes_per_sequence=[10 * k for k in kept],
    )


def row(doc_id=0, n_visual=8, n_kept=4, share=0.5, kv_bytes=40):
    return TokenRow("pope", doc_id, n_visual, n_kept, share, kv_bytes)


class TestRows:
    def test_each_sample_has_its_figures(self):
        samples = [("pope", 3), ("pope", "x")]
        assert rows_of(samples, [True, False], stats([8, 0], [4, 0])) == [
            row(3),
            TokenRow("pope", "x", 0, 0, 1.0, 0),
        ]

    def test_beams_of_a_sample_count_once(self):
        rows = rows_of([("pope", 0), ("pope", 1)], [True, True], stats([8, 8, 6, 6], [4, 4, 3, 3]))
        assert [r.n_kept for r in rows] == [4, 3]

    def test_images_that_vanished_are_refused(self):
        with pytest.raises(ValueError, match="sample 7 of pope has images, but no visual token"):
            rows_of([("pope", 7)], [True], stats([0], [0]))

    def test_a_batch_that_cannot_be_told_apart_is_refused(self):
        with pytest.raises(ValueError, match="batch_size=1"):
            rows_of([("pope", 0), ("pope", 1)], [True, True], stats([8, 8, 8], [4, 4, 4]))


class TestLog:
    def test_rows_are_kept_under_their_identity_and_means_are_of_this_run(self, tmp_path):
        path = tmp_path / "folder" / "tokens.jsonl"
        TokenLog(path, "v-1").add([row(0), row(1)])
        again = TokenLog(path, "v-1")
        assert again.means() == {}
        again.add([row(1, n_kept=2, share=0.25, kv_bytes=20), row(2, 0, 0, 1.0, 0)])
        assert again.means() == {
            "n_visual": 8.0,
            "n_kept": 2.0,
            "average_tokens": 0.25,
            "kv_bytes": 20.0,
        }
        assert {r.doc_id: r.n_kept for r in again.rows} == {0: 4, 1: 2, 2: 0}
        assert json.loads(path.read_text().splitlines()[0])["identity"] == "v-1"

    def test_another_policy_s_file_is_refused(self, tmp_path):
        path = tmp_path / "tokens.jsonl"
        TokenLog(path, "v-1").add([row()])
        with pytest.raises(ValueError, match="'v-1', and this is 'v-2'"):
            TokenLog(path, "v-2")


class TestIdentity:
    def test_it_follows_policy_and_weights(self):
        names = {
            identity_of(load_policy("ivc_prune")),
            identity_of(load_policy("ivc_prune", "average_tokens=0.25")),
            identity_of(load_policy("fastv")),
            identity_of(load_policy("fastv"), "abc"),
        }
        assert len(names) == 4
        assert identity_of(load_policy("fastv")) in names

    def test_a_cache_wants_it_and_says_what_to_write(self):
        with pytest.raises(ValueError, match="add identity=v-1"):
            check_identity(None, "v-1", cached=True)
        check_identity(None, "v-1", cached=False)
        check_identity("v-1", "v-1", cached=True)

    def test_an_outdated_one_is_refused(self):
        with pytest.raises(ValueError, match=r"identity=v-0.*it is v-1 now"):
            check_identity("v-0", "v-1", cached=False)


def test_the_order_of_a_batch_is_that_of_its_look_ups():
    order = DocOrder()
    tasks = NotedTasks({"pope": {"test": ["a", "b", "c"]}}, order)
    assert [tasks["pope"]["test"][i] for i in (2, 0, 2)] == ["c", "a", "c"]
    assert order.take() == {("pope", 2): "c", ("pope", 0): "a"}
    assert order.take() == {}
    assert (list(tasks), len(tasks), len(tasks["pope"]["test"])) == (["pope"], 1, 3)
