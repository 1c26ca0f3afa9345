"""The selectors' contract: every shipped one keeps it, and each rule catches who does not."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from ivcprune.configuration.build import compose
from ivcprune.selectors import Per, RandomSelector, Ranked, Selector, Union, top
from ivcprune.selectors.selection import AddedTokens, Selection
from ivcprune.testing import RULES, ContractError, check_selector
from ivcprune.tokens import Signal

FOLDER = Path(str(files("ivcprune.conf"))) / "selector"
BY_FAMILY = {"ivc_prune", "ivc_prune_paper"}
"""Files that only name the one of the model's family, in `published/` or `printed/`."""
PARTS = "measure"
"""Folder of what `density` measures: no selectors."""
FILES = [file for file in FOLDER.rglob("*.yaml") if file.parent.name != PARTS]
SHIPPED = sorted(
    {file.relative_to(FOLDER).with_suffix("").as_posix() for file in FILES} - BY_FAMILY
)


@pytest.fixture(scope="module")
def shipped():
    """Every selector of conf/selector/ by name, out of a single composition."""
    keys = {name: name.replace("/", "_in_") for name in SHIPPED}
    cfg = compose([f"+selector@shipped.{key}={name}" for name, key in keys.items()])
    built = instantiate(cfg.shipped, _convert_="all")
    return {name: built[key] for name, key in keys.items()}


@pytest.fixture(scope="module")
def check_once():
    """`check_selector`, which equal selectors (several families have the same) need only once."""
    checked = []

    def check(selector):
        if selector not in checked:
            check_selector(selector)
            checked.append(selector)

    return check


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_selectors_keep_the_contract(name, shipped, check_once):
    check_once(shipped[name])


def test_the_other_files_name_a_family_s_own():
    for name in BY_FAMILY:
        text = (FOLDER / f"{name}.yaml").read_text()
        assert "@_here_: ${family}" in text
        assert "_target_" not in text


def length_of_values(tokens):
    return tokens.values().norm(dim=-1).mean(dim=1)


@dataclass(frozen=True)
class EverySignalOfText(Ranked):
    """Text and images by all that the language model offers of both, in the vision tower too."""

    keep: float | int = 0.5

    needs = frozenset(
        {
            Signal.KEYS,
            Signal.HIDDEN,
            Signal.EMBEDDINGS,
            Signal.ATTENTION_NEXT,
            Signal.VISION_KEYS_EARLY,
            Signal.VISION_KEYS_LATE,
        }
    )

    def score(self, tokens):
        pairs = [
            (tokens.keys(rope=rope).transpose(1, 2).flatten(2), *self.joined(tokens, rope))
            for rope in (False, True)
        ]
        pairs += [
            (tokens.hidden(normed=normed), *tokens.text_hidden("following_image", normed=normed))
            for normed in (False, True)
        ]
        pairs.append((tokens.embeddings(), *tokens.text_embeddings("all")))
        similar = [
            (torch.einsum("rne,rle->rnl", own, text) * mask[:, None]).sum(dim=2)
            for own, text, mask in pairs
        ]
        towers = [
            tokens.vision_keys(depth=depth, rope=rope).mean(dim=(1, 3))
            for depth in ("early", "late")
            for rope in (False, True)
        ]
        heads = tokens.head_attention("last", layer="next").amax(dim=1)[:, 0]
        return sum([*similar, *towers, heads])

    def joined(self, tokens, rope):
        keys, mask = tokens.text_keys("following_image", rope=rope)
        return keys.transpose(1, 2).flatten(2), mask


def test_a_ranking_by_every_signal_of_text_and_images_keeps_the_contract():
    check_selector(EverySignalOfText())


class NotDecorated(RandomSelector):
    """Could be given attributes at any time."""


@dataclass(frozen=True)
class WrongDtype(Selector):
    def select(self, tokens):
        return tokens.valid.long()


@dataclass(frozen=True)
class WrongShape(Selector):
    def select(self, tokens):
        return tokens.valid.any(dim=0)


@dataclass(frozen=True)
class ScalarScore(Ranked):
    keep: float | int = 0.5

    def score(self, tokens):
        return -(tokens.xy - 0.5).norm()  # the line at fault


@dataclass(frozen=True)
class ScoreOfCoordinates(Ranked):
    keep: float | int = 0.5

    def score(self, tokens):
        return -(tokens.xy - 0.5)  # of both axes


@dataclass(frozen=True)
class DoesNotMultiply(Ranked):
    keep: float | int = 0.5

    def score(self, tokens):
        weights = torch.ones(3)
        return tokens.xy @ weights  # which are two


@dataclass(frozen=True)
class WrongSizes(Selector):
    def select(self, tokens):
        return tokens.valid

    def sizes(self, tokens):
        return [1] * len(tokens.rows)


@dataclass(frozen=True)
class WrongBound(Selector):
    def select(self, tokens):
        return tokens.valid

    def at_most(self, tokens):
        return [3] * len(tokens.rows)


@dataclass(frozen=True)
class HalfStates(Selector):
    needs = frozenset({Signal.HIDDEN})

    def select(self, tokens):
        return Selection(tokens.valid, merged=tokens.hidden()[..., :3])


@dataclass(frozen=True)
class NanStates(Selector):
    needs = frozenset({Signal.HIDDEN})

    def select(self, tokens):
        return Selection(tokens.valid, merged=tokens.hidden() * torch.nan)


@dataclass(frozen=True)
class AddsFromPadding(Selector):
    needs = frozenset({Signal.HIDDEN})

    def select(self, tokens):
        last = torch.full((tokens.shape[0], 1), tokens.shape[1] - 1)
        added = AddedTokens(tokens.hidden()[:, -1:], last, torch.ones_like(last).bool())
        return Selection(tokens.valid, added=added)


@dataclass(frozen=True)
class MergesNeighbours(Selector):
    """Gives each row the average over the whole batch."""

    needs = frozenset({Signal.HIDDEN})

    def select(self, tokens):
        states = tokens.hidden()
        mean = states[tokens.valid].mean(dim=0)
        return Selection(tokens.valid, merged=mean.expand_as(states))


@dataclass(frozen=True)
class Undeclared(Selector):
    def select(self, tokens):
        return length_of_values(tokens) > 2


@dataclass(frozen=True)
class WritesIntoTheCache(Selector):
    needs = frozenset({Signal.VALUES})

    def select(self, tokens):
        values, _ = tokens.sequence_values()
        values /= values.norm(dim=-1, keepdim=True)
        return tokens.valid


@dataclass(frozen=True)
class Nondeterministic(Selector):
    def select(self, tokens):
        return torch.rand(tokens.shape) < 0.5


@dataclass(frozen=True)
class OffByOne(RandomSelector):
    def select(self, tokens):
        k = [n + 1 for n in self.budget(tokens)]
        return top(self.score(tokens), tokens.eligible & tokens.valid, k)


@dataclass(frozen=True)
class TakesLetterbox(RandomSelector):
    def select(self, tokens):
        return top(self.score(tokens), tokens.valid, self.budget(tokens))


@dataclass(frozen=True)
class ReadsPadding(Selector):
    needs = frozenset({Signal.VALUES})

    def select(self, tokens):
        length = length_of_values(tokens)
        return length > length.mean(dim=1, keepdim=True)


@dataclass(frozen=True)
class PaddedIndex(Selector):
    def select(self, tokens):
        return tokens.index % 2 == 0


@dataclass(frozen=True)
class RowNumber(Selector):
    def select(self, tokens):
        return tokens.valid & (torch.arange(tokens.shape[0]) % 2 == 0)[:, None]


@dataclass(frozen=True)
class BatchNeighbours(Selector):
    needs = frozenset({Signal.VALUES})

    def select(self, tokens):
        length = length_of_values(tokens)
        return length > length[tokens.valid].median()


@dataclass(frozen=True)
class NanWithoutText(Ranked):
    keep: float = 0.5

    needs = frozenset({Signal.VALUES})

    def score(self, tokens):
        text, mask = tokens.text_values()
        mean = (text * mask[:, None, :, None]).sum(dim=2) / mask.sum(dim=1)[:, None, None]
        return torch.einsum("rhnd,rhd->rn", tokens.values(), mean)


@dataclass(frozen=True)
class FirstStageOnly(Selector):
    def select(self, tokens):
        if tokens.count != tokens.original_count:
            raise NotImplementedError("some tokens are gone")
        return tokens.valid


@dataclass(frozen=True)
class StubbornBudget(RandomSelector):
    def with_keep(self, keep):
        return self


@dataclass(frozen=True)
class NeedsNames(Selector):
    def select(self, tokens):
        even = [tokens.seeds[row.sample] % 2 == 0 for row in tokens.rows]
        return tokens.valid & torch.tensor(even)[:, None]


@dataclass(frozen=True)
class LeavesHooks(Selector):
    def select(self, tokens):
        if (coming := getattr(tokens.signals, "next", None)) is not None:
            coming.layer.register_forward_hook(lambda *_: None)
        return tokens.valid


LINES = Path(__file__).read_text("utf-8").splitlines()
"""Of this file."""

BROKEN = [
    (NotDecorated(), "frozen value", "decorate NotDecorated"),
    (WrongDtype(), "result dtype", "select returned torch.int64"),
    (WrongShape(), "result shape", r"shape \(35,\): \(6, 35\)"),
    (HalfStates(), "states", r"merged states are torch.float32 \(6, 35, 3\)"),
    (NanStates(), "states", "merged states are not finite"),
    (AddsFromPadding(), "states", "added origin points at padding"),
    (MergesNeighbours(), "batch equals singles", "gets other merged states"),
    (Undeclared(), "declared signals", "add it to the selector's `needs`"),
    (WritesIntoTheCache(), "inputs unchanged", "select wrote into values"),
    (Nondeterministic(), "determinism", "the same tokens twice"),
    (OffByOne(), "budget", r"keeps \[11, 7, 19, 4, 3, 10\].*budget is \[10, 6, 18, 3, 2, 9\]"),
    (TakesLetterbox(), "budget", "keeps tokens that are not eligible"),
    (WrongSizes(), "sizes", r"sizes says \[1, 1, 1, 1, 1, 1\], but select keeps \[20, "),
    (WrongBound(), "sizes", r"at_most says \[3, 3, 3, 3, 3, 3\], but select keeps \[20, "),
    (ReadsPadding(), "padding", "a wider table"),
    (PaddedIndex(), "padding", "more left padding"),
    (RowNumber(), "row order", r"image \d of sample \d keeps"),
    (BatchNeighbours(), "batch equals singles", "in the batch and alone"),
    (NanWithoutText(), "little input", r"NanWithoutText\.score holds NaN with \[0\] text tokens"),
    (FirstStageOnly(), "later stage", "NotImplementedError: some tokens are gone"),
    (StubbornBudget(), "keep all", r"with_keep\(1\.0\) changes the logits"),
    (NeedsNames(), "live model", "IndexError"),
    (LeavesHooks(), "hooks removed", "1 hooks are left"),
]


@pytest.mark.parametrize(
    ("selector", "rule", "explanation"), BROKEN, ids=[type(b[0]).__name__ for b in BROKEN]
)
def test_a_broken_selector_is_told_which_rule_it_breaks(selector, rule, explanation):
    with pytest.raises(ContractError, match=explanation) as caught:
        check_selector(selector)
    assert caught.value.rule == rule


@pytest.mark.parametrize(
    ("selector", "explanation", "line"),
    [
        (ScalarScore(), r"ScalarScore\.score returned shape \(\): \(6, 35\)", "the line at fault"),
        (ScoreOfCoordinates(), r"score returned shape \(6, 35, 2\): \(6, 35\)", "of both axes"),
        (Per("sample", ScalarScore()), r"ScalarScore\.score returned", "the line at fault"),
        (Union({"a": ScalarScore()}), r"ScalarScore\.score returned", "the line at fault"),
        (DoesNotMultiply(), "RuntimeError: size mismatch", "which are two"),
    ],
)
def test_a_wrong_shape_is_told_with_the_line(selector, explanation, line):
    with pytest.raises(ContractError, match=explanation) as caught:
        check_selector(selector)
    assert caught.value.rule == "result shape"
    (number,) = (i for i, text in enumerate(LINES, 1) if text.endswith(f"# {line}"))
    assert f" (at {__file__}:{number})" in str(caught.value)


def test_every_rule_catches_someone():
    assert {rule for _, rule, _ in BROKEN} == set(RULES)


def test_the_error_can_be_passed_between_processes():
    error = pickle.loads(pickle.dumps(ContractError("budget", "one too many")))
    assert (error.rule, str(error)) == ("budget", "broken rule 'budget': one too many")
