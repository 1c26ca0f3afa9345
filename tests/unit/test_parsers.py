"""Letters, yes and no to the letter of the published evaluations."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivcprune.metrics.letters import parse_letter
from ivcprune.metrics.options import REFUSALS, options_by_letter
from ivcprune.metrics.parsers import PARSERS
from ivcprune.metrics.published_letters import VERSIONS
from ivcprune.metrics.video_letters import published_mlvu, published_mvbench, published_video_mme
from ivcprune.metrics.yes_no import published_yes_no

ANIMALS = ["cat", "dog", "bird", "fish"]

replies = st.text() | st.lists(
    st.sampled_from(
        ["A", "B", "Z", "a", "(", ")", ".", ",", " ", "\n", "The answer is", "dog", "yes", "no"]
    )
    | st.sampled_from(["not", "1,2", "是", "İ", "\x00", REFUSALS[0]])
).map("".join)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("(B) dog", "B"),
        ("B.", "B"),
        ("The answer is: B!", "B"),
        ("A or B", None),
        ("B, B and B", "B"),
        ("It is a dog.", "B"),
        ("It is a DOG", "B"),
        ("a dog and a cat", None),
        ("b", None),
        ("E", None),
        ("Z", "Z"),
        ("Z, that is: dog", "Z"),
        ("B rather than Z", "B"),
        ("", None),
        ("nan", None),
        ("答案是 B", "B"),
        ("答案是B", None),
        (f"{REFUSALS[3]} B", "Z"),
    ],
)
def test_letters_that_both_versions_read_alike(
    reply: str, letter: str | None, version: str
) -> None:
    assert parse_letter(reply, ANIMALS, version) == letter


@pytest.mark.parametrize(
    ("reply", "fork", "upstream"),
    [
        # A sentence that begins with the article: upstream wants the letter among the last four.
        ("A man is standing behind the red car", "A", None),
        ("A man is standing here", "A", None),
        ("A man stands here", "A", "A"),
        # Two letters: upstream still finds the phrase.
        ("Not A: the correct answer is **B**", None, "B"),
        ("not a: THE ANSWER IS c, as A was", "A", "A"),
        # As published, no end of the letter is asked for.
        ("A. The answer is Dozens of apples, so many of them", "A", "D"),
        # Option texts together have 14 characters: from 29 on upstream does not look for them.
        ("x" * 25 + "dog", "B", "B"),
        ("x" * 26 + "dog", "B", None),
    ],
)
def test_letters_that_the_versions_read_differently(
    reply: str, fork: str | None, upstream: str | None
) -> None:
    assert parse_letter(reply, ANIMALS, "fork") == fork
    assert parse_letter(reply, ANIMALS, "upstream") == upstream


def test_only_letters_of_present_options_count() -> None:
    assert parse_letter("C", ["yes", "no"]) is None
    assert parse_letter("C or A", ["yes", "no"]) == "A"
    assert options_by_letter(["cat", "", "bird"]) == {"A": "cat", "C": "bird"}
    assert parse_letter("B or C", ["cat", "", "bird"]) == "C"
    assert parse_letter("the answer is B and A", ["cat", "", "bird"], "upstream") == "A"


def test_options_within_the_question_have_letters_only() -> None:
    assert parse_letter("D", []) == "D"
    assert parse_letter("E", []) is None
    assert parse_letter("dog", []) is None


def test_more_options_than_letters() -> None:
    assert parse_letter("Y", [f"option {i}" for i in range(40)]) == "Y"


def test_unknown_version_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"'v3' is unknown.*'fork', 'upstream'"):
        parse_letter("A", ANIMALS, "v3")


@pytest.mark.parametrize(
    ("reply", "parsed"),
    [
        ("Yes", "yes"),
        ("No, there is no dog.", "no"),
        ("YES!", "yes"),
        ("Yes.", "yes"),
        ("yes and no", None),
        ("not sure", None),
        ("I know nothing", None),
        ("", None),
        ("nan", None),
        ("Oui", None),
        # The slash touches no space, so it parts the words; the comma between digits removes it.
        ("yes/no", None),
        ("1,000 times yes/sure", None),
    ],
)
def test_yes_no(reply: str, parsed: str | None) -> None:
    assert published_yes_no(reply) == parsed


@pytest.mark.parametrize(
    ("reply", "parsed"),
    [
        ("(B) dog", "B"),
        ("b", "B"),
        ("B.", "B"),
        ("b)", "B"),
        ("(B)dog", "B"),
        ("A or (B)", None),
        ("the dog", "B"),
        # Parts of "(b)" in the published rule, but they name no option.
        ("", None),
        ("(", None),
        (".", None),
        ("I see nothing", None),
    ],
)
def test_mvbench(reply: str, parsed: str | None) -> None:
    assert published_mvbench(reply, ANIMALS, "B") == parsed


@pytest.mark.parametrize(
    ("reply", "parsed"),
    [
        ("C", "C"),
        ("C. fish", "C"),
        ("The answer is C.", "C"),
        ("Answer: C", "C"),
        # Four published prefixes never match, and "Best" begins with a B.
        ("Best answer: C", "B"),
        ("Best option: (C)", "B"),
        ("All say C", "A"),
        ("Cats", "C"),
        # Without a capital A to D, the text of an option is looked for.
        ("a fish", "D"),
        ("", None),
        ("none of them", None),
        ("I have watched the whole video and still do not know it", None),
    ],
)
def test_video_mme(reply: str, parsed: str | None) -> None:
    assert published_video_mme(reply, ANIMALS, "C") == parsed


@pytest.mark.parametrize(
    ("reply", "parsed"),
    [
        ("B", "B"),
        ("(B) dog", "B"),
        ("B) dog", "B"),
        ("(A) cat", "A"),
        (") B", "B"),
        ("The dog (maybe)", "B"),
        ("", None),
        ("who knows", None),
    ],
)
def test_mlvu(reply: str, parsed: str | None) -> None:
    assert published_mlvu(reply, ANIMALS, "B") == parsed


@settings(deadline=None)
@given(reply=replies, choices=st.lists(st.text(max_size=8), max_size=6), data=st.data())
def test_any_text_gives_a_letter_or_none(
    reply: str, choices: list[str], data: st.DataObject
) -> None:
    task = data.draw(st.sampled_from(sorted(PARSERS)))
    name = data.draw(st.sampled_from(sorted(PARSERS[task])))
    letter = PARSERS[task][name](reply, choices, "A")
    assert letter is None or letter in {*"ABCDZ", *options_by_letter(choices)}


@settings(deadline=None)
@given(reply=replies)
def test_any_text_gives_yes_no_or_none(reply: str) -> None:
    assert published_yes_no(reply) in ("yes", "no", None)
