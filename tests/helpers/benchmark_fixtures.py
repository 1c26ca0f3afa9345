"""Every benchmark in small: eight rows or more in the format of its source, and scripted replies.

Each fixture holds right and wrong replies, one that cannot be read, a refusal, a row whose image or
video is damaged or missing, and the benchmark's own trap. The expected figures are worked by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from source_formats import (
    CORRUPT,
    IMAGE,
    IMAGES,
    NUMBER,
    NUMBERS,
    TEXT,
    TEXTS,
    Row,
    as_base64,
    png,
    stored,
    write_hub,
    write_json,
    write_table,
    write_video,
)

REFUSAL = "I'm sorry, but without the image provided I cannot tell."
OPTIONS = ["red", "green", "blue", "yellow"]


@dataclass(frozen=True)
class Fixture:
    """A benchmark in small.

    Attributes:
        write: writes the source into a folder; returns overrides of the root configuration.
        replies: by sample id; a sample that the trap's handling would number in addition, "7-0", is
            found under its row's id as well.
        expected: figures of `metrics.json` by name.
        trap: overrides that switch the handling of the benchmark's trap off.
        failed: ids of samples that cannot be decoded.
        marks: of a judge, by sample id, in [0, 1].
        published: figures that the published reading comes to instead of those of `expected`.
    """

    name: str
    write: Callable[[Path], list[str]]
    replies: Mapping[str, str]
    expected: Mapping[str, float | None]
    trap: Sequence[str]
    failed: tuple[str, ...]
    marks: Mapping[str, float] = field(default_factory=dict)
    published: Mapping[str, float | None] = field(default_factory=dict)


def rows_expected(n: int, samples: int | None = None) -> list[str]:
    return [f"data.expected_rows={n}", f"data.expected_samples={samples or n}",
            "data.samples_certain=true"]  # fmt: skip


def on_hub(
    rows: Sequence[Row],
    features: Mapping[str, Any],
    split: str,
    config: str = "default",
    samples: int | None = None,
) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        hub_id = write_hub(folder / "hub", {(config, split): rows}, features)
        return [f"data.hub_ids=[{hub_id}]", *rows_expected(len(rows), samples)]

    return write


def in_file(name: str, rows: Sequence[Row], samples: int) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        write_table(folder / name, rows)
        return [f"data.path={folder / name}", "data.md5=null", *rows_expected(len(rows), samples)]

    return write


def numbered(replies: Sequence[str]) -> dict[str, str]:
    """Replies to rows that are numbered, as samples without an id of their own are."""
    return {f"{i:06d}": reply for i, reply in enumerate(replies)}


def images(n: int, broken: int) -> list[Row]:
    """`n` image cells, one of which holds no image."""
    return [stored(CORRUPT if i == broken else png(seed=i)) for i in range(n)]


# Grounding ---------------------------------------------------------------------------------------

# Boxes (x, y, width, height) of 10 x 10 px at (10, 10), as (x1, y1, x2, y2): 10 10 20 20. Hits are
# 10 10 20 20 (IoU 1) and 10 10 20 15 (IoU 0.5); 15 10 25 20 has IoU 1/3.
GROUNDING_REPLIES = {
    "000000-0": "10 10 20 20",
    "000000-1": "10 10 20 15",
    "000001-0": "15 10 25 20",
    "000001-1": "10 10 20 20",
    "000002": "I see no such thing",
    "000003": REFUSAL,
    "000004": "10 10 20 20",
    "000005": "10 10 20 20",
    "000006": "30 30 40 40",
    "000007": "10 10 10 10",
}
# 10 expressions, of which that of row 5 has no image: 4 hits of 9.
GROUNDING_SCORE = 100 * 4 / 9


def grounding(name: str, split: str) -> Fixture:
    expressions = [["left", "the left one"], ["a", "b"], *([f"thing {i}"] for i in range(2, 8))]
    rows = [
        {"question_id": str(i), "image": image, "answer": texts, "bbox": [10, 10, 10, 10]}
        for i, (image, texts) in enumerate(zip(images(8, broken=5), expressions, strict=True))
    ]
    features = {"question_id": TEXT, "image": IMAGE, "answer": TEXTS, "bbox": NUMBERS}
    return Fixture(
        name,
        on_hub(rows, features, split, samples=10),
        GROUNDING_REPLIES,
        {"grounding": GROUNDING_SCORE},
        # One sample an object: 3 hits (rows 0, 4, and none of row 1) of 7.
        trap=["data.adapters=[]", "data.expected_samples=8"],
        failed=("000005",),
    )


def grounding_by_image(name: str, split: str) -> Fixture:
    def thing(*texts: str) -> Row:
        return {
            "ann_info": {"bbox": [10.0, 10.0, 10.0, 10.0]},
            "ref_info": {"sentences": [{"raw": text.upper(), "sent": text} for text in texts]},
        }

    things = [[thing("left"), thing("the left one")], [thing("a", "b")]]
    things += [[thing(f"thing {i}")] for i in range(2, 8)]
    rows = [
        {"image": image, "ref_list": refs}
        for image, refs in zip(images(8, broken=5), things, strict=True)
    ]
    sentence = {"raw": TEXT, "sent": TEXT}
    reference = {"ann_info": {"bbox": NUMBERS}, "ref_info": {"sentences": [sentence]}}
    features = {"image": IMAGE, "ref_list": [reference]}

    def write(folder: Path) -> list[str]:
        tables = {("default", split): rows, ("default", "google_val"): rows[:2]}
        hub_id = write_hub(folder / "hub", tables, features)
        return [f"data.hub_ids=[{hub_id}]", "data.expected_samples=10", "data.samples_certain=true"]

    return Fixture(
        name,
        write,
        GROUNDING_REPLIES,
        {"grounding": GROUNDING_SCORE},
        # Both splits together: four expressions more, which have no reply here. 4 of 13.
        trap=[f"data.split={split}+google_val", "data.expected_samples=14"],
        failed=("000005",),
    )


# Multiple choice ---------------------------------------------------------------------------------

# The answer is always B, "green", of four colours. Rows 0-2 are right, 3-5 wrong (another letter,
# two letters, a refusal), row 6 has no image; row 7 is the benchmark's trap.
CHOICE_REPLIES = ("B", "The answer is B.", "It is green", "A", "B or C", REFUSAL, "B")


def choices(trap_reply: str) -> dict[str, str]:
    return numbered([*CHOICE_REPLIES, trap_reply])


def seedbench() -> Fixture:
    rows = [
        {
            "image": [image],
            "question": f"colour {i}?",
            **{f"choice_{letter}": text for letter, text in zip("abcd", OPTIONS, strict=True)},
            "answer": "B",
            "data_type": "video" if i == 7 else "image",
            "question_type_id": 1,
        }
        for i, image in enumerate(images(8, broken=6))
    ]
    features = {"image": IMAGES, "question": TEXT, "choice_a": TEXT, "choice_b": TEXT,
                "choice_c": TEXT, "choice_d": TEXT, "answer": TEXT, "data_type": TEXT,
                "question_type_id": NUMBER}  # fmt: skip
    return Fixture(
        "seedbench_image",
        on_hub(rows, features, "test", samples=7),
        choices("B"),
        {"multiple_choice": 100 * 3 / 6},
        trap=["~data.where.data_type", "data.expected_samples=8"],  # the video counts: 4 of 7
        failed=("000006",),
    )


# Four questions, each under two rotations: the base row and index + 1000000.
# 0: both right (the answer moves to A). 1: the base right, the rotation wrong. 2: both unreadable.
# 3: both wrong, one a refusal. 4: the base right, the rotation without an image.
ROTATIONS = {
    "0": "B", "1000000": "A", "1": "B", "1000001": "C", "2": "B or C", "1000002": "hm",
    "3": REFUSAL, "1000003": "D", "4": "B", "1000004": "A",
}  # fmt: skip


def rotation_rows() -> list[Row]:
    rows = []
    for key in ROTATIONS:
        index = int(key)
        rotated = index >= 1_000_000
        options = ["green", "blue", "yellow", "red"] if rotated else OPTIONS
        rows.append(
            {
                "index": index,
                "question": f"colour {index % 1_000_000}?",
                "hint": None,
                **dict(zip("ABCD", options, strict=True)),
                "answer": "A" if rotated else "B",
                "category": "colour",
            }
        )
    return rows


# Question 4 has no right rotation to count, but no wrong one either: it is left out. 1 of 4
# questions is right under all rotations; 3 of 5 base rows are right.
CIRCULAR = {"circular_accuracy": 100 * 1 / 4, "vanilla_accuracy": 100 * 3 / 5}


def mmbench(name: str, config: str) -> Fixture:
    rows = [
        row | {"image": image, "hint": "nan"}
        for row, image in zip(rotation_rows(), images(10, broken=9), strict=True)
    ]
    # With a missing option: its text "nan" would be found in "banana", and the reply be unclear.
    rows[0] |= {"B": "banana", "D": "nan"}
    features = {"index": NUMBER, "question": TEXT, "hint": TEXT, "A": TEXT, "B": TEXT, "C": TEXT,
                "D": TEXT, "answer": TEXT, "category": TEXT, "image": IMAGE}  # fmt: skip
    return Fixture(
        name,
        on_hub(rows, features, "dev", config),
        ROTATIONS | {"0": "a banana"},
        CIRCULAR,
        trap=["data.missing=none"],
        failed=("1000004",),
    )


def mmbench_v11(name: str) -> Fixture:
    rows = [{"image": as_base64(png(seed=i))} | row for i, row in enumerate(rotation_rows())]
    for row, base in zip(rows[1::2], rows[::2], strict=True):
        row["image"] = str(base["index"])  # rotations name the row that has the image
    rows[9]["image"] = as_base64(CORRUPT)
    rows[0]["B"] = "None"
    # As published, the option B is lost, "none" is no text of an option, and the reply unclear:
    # question 0 is wrong too. Row 11 has no image at all and is left out.
    rows.append(rows[1] | {"index": 2_000_001, "image": None})
    return Fixture(
        name,
        in_file("MMBench.tsv", rows, samples=10),
        ROTATIONS | {"0": "None of these"},
        {"circular_accuracy": 0.0, "vanilla_accuracy": 100 * 2 / 5},
        trap=["data.missing=none", "data.expected_samples=11"],
        failed=("1000004",),
    )


def in_tsv(name: str, trap: list[str], *, references: bool) -> Fixture:
    rows = [
        {
            "index": i,
            "image": as_base64(CORRUPT if i == 6 else png(seed=i)),
            "question": f"colour {i}?",
            **dict(zip("ABCD", OPTIONS, strict=True)),
            "answer": "B",
            "category": "colour",
        }
        for i in range(8)
    ]
    if references:
        rows[7]["image"] = "0"
    return Fixture(
        name,
        in_file("table.tsv", rows, samples=8),
        {str(int(key)): reply for key, reply in choices("green").items()},
        {"multiple_choice": 100 * 4 / 7},
        trap=trap,
        failed=("6",),
    )


def indexed(name: str, columns: Mapping[str, str], split: str, config: str = "default") -> Fixture:
    """The answer is the 0-based index of an option."""
    id_, answer = columns["id"], columns["answer"]
    rows = [
        {id_: f"q{i}", "image": image, "question": f"colour {i}?", "choices": OPTIONS, answer: 1,
         "hint": "", "subject": "art"}
        for i, image in enumerate(images(8, broken=6))
    ]  # fmt: skip
    features = {id_: TEXT, "image": IMAGE, "question": TEXT, "choices": TEXTS, answer: NUMBER,
                "hint": TEXT, "subject": TEXT}  # fmt: skip
    # Numbers as options: as a text, the answer 1 would be that of option C.
    rows[7] |= {"choices": ["3", "2", "1", "0"]}
    replies = choices("(B)")
    by_id = {f"q{int(key)}": reply for key, reply in replies.items()}
    has_ids = columns.get("has_ids") == "yes"
    return Fixture(
        name,
        on_hub(rows, features, split, config),
        by_id if has_ids else replies,
        {"multiple_choice": 100 * 4 / 7},
        trap=["data.answer_format=choice"],  # rows 0 to 6 are errors, and row 7 is wrong: 0 of 1
        failed=("q6" if has_ids else "000006",),
    )


def realworldqa() -> Fixture:
    options = "".join(f"\n{letter}. {text}" for letter, text in zip("ABCD", OPTIONS, strict=True))
    prompt = "\nPlease answer directly with only the letter of the correct option and nothing else."
    rows = [
        {"image": image, "question": f"colour {i}?{options}{prompt}", "answer": "B"}
        for i, image in enumerate(images(9, broken=6))
    ]
    one_word = "\nPlease answer directly with a single word or number."
    rows[7] |= {"question": f"How many?{one_word}", "answer": "3"}
    rows[8] |= {"question": f"Is it?{one_word}", "answer": "Yes"}
    features = {"image": IMAGE, "question": TEXT, "answer": TEXT}
    return Fixture(
        "realworldqa",
        on_hub(rows, features, "test"),
        choices("3.") | {"000008": "no"},
        {"multiple_choice": 100 * 3 / 6, "vqa": 100 * 1 / 2, "pooled_mean": 100 * 4 / 8},
        trap=["~data.columns.task", "~data.columns.choices", "data.adapters=[]"],
        failed=("000006",),
    )


def spatialeval() -> Fixture:
    options = "".join(f"\n{letter}. {text}" for letter, text in zip("ABCD", OPTIONS, strict=True))
    names = ["mazenav.0.0", "spatialgrid.1.1", "spatialmap.2.0", "spatialreal.3.1"]
    rows = [
        {"id": f"{names[i % 4]}.{i}", "image": image, "text": f"A map.\nWhich colour?{options}",
         "oracle_option": "B"}
        for i, image in enumerate(images(8, broken=6))
    ]  # fmt: skip
    rows[7]["text"] = "A maze.\nIs there a way?\nA. No\nB. Yes"
    ids = [row["id"] for row in rows]
    features = {"id": TEXT, "image": IMAGE, "text": TEXT, "oracle_option": TEXT}
    return Fixture(
        "spatialeval",
        on_hub(rows, features, "test", "vqa"),
        dict(zip(ids, [*CHOICE_REPLIES, "yes"], strict=True)),
        {"multiple_choice": 100 * 4 / 7},
        # Without option texts the two replies in words cannot be read: 2 of 7.
        trap=["data.adapters=[]", "~data.columns.choices", "~data.columns.category"],
        failed=("spatialmap.2.0.6",),
    )


# Yes and no --------------------------------------------------------------------------------------

# Four images with two questions each; the answers are yes, no. Right: 0, 1, 2, 5; wrong: 3, 4
# (unclear), 6 (refusal); 7 has no image.
YES_NO = ("Yes", "no.", "Yes, it is", "yes", "yes and no", "No", REFUSAL, "no")


def mme() -> Fixture:
    rows = [
        {"question_id": f"{i // 2}.png", "image": image, "question": f"{i}?",
         "answer": ["Yes", "No"][i % 2], "category": "OCR" if i < 4 else "text_translation"}
        for i, image in enumerate(images(8, broken=7))
    ]  # fmt: skip
    features = {"question_id": TEXT, "image": IMAGE, "question": TEXT, "answer": TEXT,
                "category": TEXT}  # fmt: skip
    return Fixture(
        "mme",
        on_hub(rows, features, "test"),
        numbered(YES_NO),
        # OCR: 3 of 4 right, 1 of 2 images: 125. text_translation: 1 of 3, no image: 33.3.
        {"mme_perception": 125.0, "mme_cognition": 100 / 3, "mme": 125 + 100 / 3},
        trap=["~data.columns.group"],  # every question an image of its own: 150 + 66.7
        failed=("000007",),
    )


def pope() -> Fixture:
    rows = [
        {"image_source": f"{i // 2}", "image": image, "question": f"{i}?",
         "answer": ["yes", "no"][i % 2], "category": "popular" if i < 2 else "random"}
        for i, image in enumerate(images(8, broken=7))
    ]  # fmt: skip
    features = {"image_source": TEXT, "image": IMAGE, "question": TEXT, "answer": TEXT,
                "category": TEXT}  # fmt: skip
    return Fixture(
        "pope",
        on_hub(rows, features, "test"),
        numbered(YES_NO),
        # yes: 2 right (0, 2), 2 missed (4, 6), 1 wrong (3): F1 = 4 / (4 + 1 + 2). Popular alone has
        # 1, random 0.4: the mean of the settings would be 70.
        {
            "pope_f1": 100 * 4 / 7,
            "pope_accuracy": 100 * 4 / 7,
            "pope_precision": 100 * 2 / 3,
            "pope_recall": 100 * 2 / 4,
        },
        # Without settings, each question would count once for "", and nothing by setting.
        trap=["data.metrics=category_mean"],
        failed=("000007",),
    )


def hallusionbench() -> Fixture:
    # Two subcategories with the same set and figure numbers.
    rows = [
        {"category": "VD", "subcategory": "chart" if i < 4 else "map", "set_id": "0",
         "figure_id": str(i % 4 // 2), "question_id": str(i % 2), "question": f"{i}?",
         "gt_answer": str(1 - i % 2), "image": image}
        for i, image in enumerate(images(8, broken=7))
    ]  # fmt: skip
    features = dict.fromkeys(
        ("category", "subcategory", "set_id", "figure_id", "question_id", "question", "gt_answer"),
        TEXT,
    ) | {"image": IMAGE}
    return Fixture(
        "hallusionbench",
        on_hub(rows, features, "image"),
        numbered(YES_NO),
        # Right: 0, 1, 2, 5 of 7. Figures {0, 1}, {2, 3}, {4, 5}, {6}: 1 of 4 is all right.
        # Questions {0, 2}, {1, 3}, {4, 6}, {5}: 2 of 4.
        {"aAcc": 100 * 4 / 7, "fAcc": 25.0, "qAcc": 50.0, "hallusion": (400 / 7 + 75) / 3},
        # Figures {0, 1, 4, 5}, {2, 3, 6}: none of 2. Questions: none of 2.
        trap=["data.metadata.subcategory=category"],
        failed=("000007",),
    )


# Answers in words --------------------------------------------------------------------------------


def textvqa() -> Fixture:
    """Three annotators say "stop", two "halt", five something else."""
    said = ["stop"] * 3 + ["halt"] * 2 + ["b", "c", "d", "e", "f"]
    rows = [
        {"question_id": i, "image_id": f"i{i}", "image": image, "question": f"{i}?",
         "answers": said}
        for i, image in enumerate(images(8, broken=6))
    ]  # fmt: skip
    features = {"question_id": NUMBER, "image_id": TEXT, "image": IMAGE, "question": TEXT,
                "answers": TEXTS}  # fmt: skip
    replies = ("stop", "Stop.", "halt", "go", "", REFUSAL, "stop", "the stop")
    return Fixture(
        "textvqa",
        on_hub(rows, features, "validation"),
        {str(i): reply for i, reply in enumerate(replies)},
        # 3 of 10 score 0.9, 2 of 10 score 0.6: 0.9, 0.9, 0.6, 0, 0, 0, 0.9 over 7.
        {"vqa_score": 100 * 3.3 / 7},
        trap=["data.task=vqa"],
        failed=("6",),
    )


def document(name: str, config: str) -> Fixture:
    rows = [
        {"questionId": f"d{i}", "docId": i, "image": image, "question": f"{i}?",
         "answers": ["1,000 kg", "1000 kg"]}
        for i, image in enumerate(images(8, broken=6))
    ]  # fmt: skip
    features = {"questionId": TEXT, "docId": NUMBER, "image": IMAGE, "question": TEXT,
                "answers": TEXTS}  # fmt: skip
    replies = ("1,000 kg", "1000 KG", "1000 g", "500 tons", "", REFUSAL, "1000 kg", "1000")
    return Fixture(
        name,
        on_hub(rows, features, "validation", config),
        {f"d{i}": reply for i, reply in enumerate(replies)},
        # "1000 g" lacks 1 of 7 characters: 6/7; "1000" lacks 3: 4/7; the others 1, 1, 0, 0, 0.
        # "500 tons" is 7 changes from "1000 kg" (8 long): 1/8 counts as 0.
        {"anls": 100 * (2 + 6 / 7 + 4 / 7) / 7},
        trap=["data.task=vqa"],
        failed=("d6",),
    )


def ocrbench() -> Fixture:
    formula = "Handwritten Mathematical Expression Recognition"
    rows = [
        {"image": image, "question": f"{i}?", "answer": ["CAFE", "Cafe Roma"],
         "dataset": "x", "question_type": "Regular Text Recognition"}
        for i, image in enumerate(images(9, broken=6))
    ]  # fmt: skip
    rows[7] |= {"answer": ["x ^ 2"], "question_type": formula}
    rows[8] |= {"answer": ["X ^ 2"], "question_type": formula}
    features = {"image": IMAGE, "question": TEXT, "answer": TEXTS, "dataset": TEXT,
                "question_type": TEXT}  # fmt: skip
    replies = ("It says Cafe", "cafe\nroma", "caffe", "tea", "", REFUSAL, "cafe", "x^2", "x^2")
    return Fixture(
        "ocrbench",
        on_hub(rows, features, "test"),
        numbered(replies),
        # Right: 0, 1, 7 of 8; of the two formulas the second has another case.
        {"ocrbench": 100 * 3 / 8, "ocrbench_total": 1000 * 3 / 8},
        trap=["data.columns.category=dataset"],  # formulas as words: spaces count
        failed=("000006",),
    )


def gqa(name: str) -> Fixture:
    ids = [f"00{10**17 + i}" for i in range(8)]
    boxes = ["object1", "object2"] if name == "gqa_choose_rel" else ["central object"]
    sides = {f"{box} {side}": value for box in boxes
             for side, value in zip("xywh", (4, 5, 10, 20), strict=True)}  # fmt: skip
    rows = [
        {"question_id": ids[i], "img_id": str(i), "question": "red or green?", "answer": "green"}
        | sides
        for i in range(8)
    ]
    replies = ("green", " Green\n", "GREEN", "red", "", REFUSAL, "green", "green.")

    def write(folder: Path) -> list[str]:
        write_table(folder / "gqa.csv", rows, separator=",")
        (folder / "images").mkdir()
        for i in (0, 1, 2, 3, 4, 5, 7):
            (folder / "images" / f"{i}.jpg").write_bytes(png(seed=i))
        return [f"data.path={folder / 'gqa.csv'}", f"data.image_folder={folder / 'images'}",
                "data.md5=null", *rows_expected(8)]  # fmt: skip

    return Fixture(
        name,
        write,
        dict(zip(ids, replies, strict=True)),
        {"vqa": 100 * 4 / 7},
        trap=["data.parser=without_final_stop"],  # "green." would count as published, too
        failed=(ids[6],),
        published={"vqa": 100 * 3 / 7},  # "green." is no exact match
    )


# Videos ------------------------------------------------------------------------------------------


def with_videos(folder: Path, names: Sequence[str]) -> str:
    for name in names:
        write_video(folder / "videos" / name)
    return f"data.video_folder={folder / 'videos'}"


def mvbench() -> Fixture:
    rows = [
        {"video": f"{i}.mp4", "question": f"colour {i}?", "candidates": OPTIONS, "answer": "green"}
        for i in range(8)
    ]
    bounded = [row | {"start": 0.5, "end": 2.0} for row in rows[:2]]

    def write(folder: Path) -> list[str]:
        write_json(folder / "hub/json/action_sequence.json", bounded)
        write_json(folder / "hub/json/moving_count.json", rows[2:])
        configs = "".join(
            f"- config_name: {name}\n  data_files:\n  - split: train\n    path: json/{name}.json\n"
            for name in ("action_sequence", "moving_count")
        )
        (folder / "hub/README.md").write_text(f"---\nconfigs:\n{configs}---\n")
        names = [f"star/Charades_v1_480/{i}.mp4" for i in (0, 1)]
        names += [f"clevrer/video_validation/{i}.mp4" for i in (2, 3, 4, 5, 7)]
        return [f"data.hub_ids=[{folder / 'hub'}]", "data.config=[action_sequence,moving_count]",
                with_videos(folder, names), *rows_expected(8)]  # fmt: skip

    return Fixture(
        "mvbench",
        write,
        choices("(b"),
        {"video_multiple_choice": 100 * 4 / 7},
        trap=["data.parser=fork"],  # published: two letters are unclear, "b" is none: 3 of 7
        failed=("000006",),
        # As published the first word counts, so that "B or C" is right as well.
        published={"video_multiple_choice": 100 * 5 / 7},
    )


def videomme() -> Fixture:
    lettered = [f"{letter}. {text}" for letter, text in zip("ABCD", OPTIONS, strict=True)]
    rows = [
        {"question_id": f"{i}-1", "videoID": f"v{i}", "duration": ["short", "long"][i % 2],
         "question": f"colour {i}?", "options": lettered, "answer": "B"}
        for i in range(8)
    ]  # fmt: skip
    features = {"question_id": TEXT, "videoID": TEXT, "duration": TEXT, "question": TEXT,
                "options": TEXTS, "answer": TEXT}  # fmt: skip
    hub = on_hub(rows, features, "test", "videomme")

    def write(folder: Path) -> list[str]:
        return [*hub(folder), with_videos(folder, [f"v{i}.mp4" for i in (0, 1, 2, 3, 4, 5, 7)])]

    replies = ("B", "The answer is B.", "It is green", "A", "A or C", REFUSAL, "B", "An egg: B")
    return Fixture(
        "videomme",
        write,
        {f"{i}-1": reply for i, reply in enumerate(replies)},
        # The published rule reads A from 4 and 7, the first capital A to D in them.
        {
            "video_mme": 100 * 4 / 7,
            "video_mme_published_rule": 100 * 3 / 7,
            "video_mme_rules_differ": 100 * 2 / 7,
            "video_multiple_choice": 100 * 4 / 7,
        },
        trap=["data.parser=fork"],  # published: the B of the last one
        failed=("6-1",),
        published={
            "video_mme": 100 * 3 / 7,
            "video_mme_rules_differ": 0.0,
            "video_multiple_choice": 100 * 3 / 7,
        },
    )


def mlvu_m() -> Fixture:
    def write(folder: Path) -> list[str]:
        for stem, numbers in (("1_plotQA", range(4)), ("5_order", range(4, 8))):
            rows = [
                {"video": f"{i}.mp4", "duration": 3.0, "question": f"colour {i}?",
                 "candidates": OPTIONS, "answer": "green", "question_type": stem[2:]}
                for i in numbers
            ]  # fmt: skip
            write_json(folder / f"hub/MLVU/json/{stem}.json", rows)
        names = [f"1_plotQA/{i}.mp4" for i in range(4)] + [f"5_order/{i}.mp4" for i in (4, 5, 7)]
        files = "[MLVU/json/1_plotQA.json,MLVU/json/5_order.json]"
        return [f"data.hub_ids=[{folder / 'hub'}]", f"data.data_files={files}",
                with_videos(folder, names), *rows_expected(8)]  # fmt: skip

    return Fixture(
        "mlvu_m",
        write,
        choices("(B) green"),
        # plotQA 3 of 4; order 1 of 3.
        {
            "mlvu_m_avg": 75.0,
            "mlvu_m_avg_seven_tasks": 100 * 4 / 7,
            "mlvu_m_avg_task_mean": 100 * (3 / 4 + 1 / 3) / 2,
        },
        trap=["data.metrics=mean"],  # order counts: 4 of 7
        failed=("000006",),
    )


def mlvu_g() -> Fixture:
    def write(folder: Path) -> list[str]:
        scenes = [
            {"video": f"{i}.mp4", "question": f"{i}?", "answer": "a dog",
             "scoring_points": "a dog; it barks"}
            for i in range(4)
        ]  # fmt: skip
        summaries = [
            {
                "video": f"{i}.mp4",
                "question": f"{i}?",
                "answer": "a day",
                "question_type": "summary",
            }
            for i in range(4, 8)
        ]
        write_json(folder / "hub/MLVU/json/8_sub_scene.json", scenes)
        write_json(folder / "hub/MLVU/json/9_summary.json", summaries)
        names = [f"8_sub_scene/{i}.mp4" for i in range(4)]
        names += [f"9_summary/{i}.mp4" for i in (4, 5, 7)]
        return [f"data.hub_ids=[{folder / 'hub'}]", with_videos(folder, names), *rows_expected(8)]

    marks = (1.0, 0.8, 0.5, 0.2, 0.6, 0.2, 1.0)
    ids = [f"{i:06d}" for i in (0, 1, 2, 3, 4, 5)]
    return Fixture(
        "mlvu_g",
        write,
        numbered(["a dog", "dogs", "a pet", "a cat", "", REFUSAL, "a day", "all day"]),
        # Row 7 is not judged, as if the judge had not answered: 3.3 over 6 samples.
        {"mlvu_g_avg": 10 * 3.3 / 6},
        trap=["data.metrics=mean"],  # without the scale of the paper: 55 of 100
        failed=("000006",),
        marks=dict(zip(ids, marks, strict=False)),
    )


AOKVQA = {"id": "question_id", "answer": "correct_choice_idx", "has_ids": "yes"}
SCIENCEQA = {"id": "row", "answer": "answer"}

FIXTURES: tuple[Fixture, ...] = (
    grounding("refcoco_testa", "testA"),
    grounding("refcoco_testb", "testB"),
    grounding_by_image("refcoco_val", "refcoco_unc_val"),
    grounding("refcoco_plus_testa", "testA"),
    grounding("refcoco_plus_testb", "testB"),
    grounding("refcoco_plus_val", "val"),
    grounding("refcocog_test", "test"),
    grounding_by_image("refcocog_val", "refcocog_umd_val"),
    seedbench(),
    mmbench("mmbench_dev_en", "en"),
    mmbench("mmbench_dev_cn", "cn"),
    mmbench_v11("mmbench_dev_en_v11"),
    mmbench_v11("mmbench_dev_cn_v11"),
    in_tsv("mmstar", ["~data.columns.choices"], references=False),
    in_tsv("ai2d", ["data.index_column=question"], references=True),
    indexed("aokvqa", AOKVQA, "validation"),
    indexed("scienceqa_image", SCIENCEQA, "test", "ScienceQA-IMG"),
    realworldqa(),
    spatialeval(),
    mme(),
    pope(),
    hallusionbench(),
    textvqa(),
    document("docvqa", "DocVQA"),
    document("infovqa", "InfographicVQA"),
    ocrbench(),
    gqa("gqa_choose_attr"),
    gqa("gqa_choose_cat"),
    gqa("gqa_choose_rel"),
    mvbench(),
    videomme(),
    mlvu_m(),
    mlvu_g(),
)
