"""Values that no job can use: named at once, whoever composes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ivcprune.api import load_policy
from ivcprune.checks import suggest
from ivcprune.configuration.build import build_trainer, compose


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=abc", "seed is 'abc': it must be a whole number, at least 0"),
        ("seed=true", "seed is True: it must be a whole number"),
        ("seed=4294967296", "seed is 4294967296: it must be at most 4294967295"),
        ("seed=null", "seed is null: give it a value"),
        ("batch_size=0", "batch_size is 0: it must be a whole number, at least 1"),
        ("num_workers=few", "num_workers is 'few': it must be a whole number, at least 0"),
        ("data.limit=half", "data.limit is 'half': it must be a whole number, at least 1"),
        ("policy.average_tokens=half", "policy.average_tokens is 'half': it must be in (0, 1]"),
        ("policy.average_tokens=true", "policy.average_tokens is True: it must be in (0, 1]"),
        ("attention=flash_attention_2", "'flash_attention_2': did you mean 'flash'? choose one"),
        ("model.max_new_tokens=1.5", "model.max_new_tokens is 1.5: it must be a whole number"),
        ("generation.max_new_tokens=0", "max_new_tokens is 0: it must be a whole number"),
    ],
)
def test_a_bad_value_is_named_with_its_setting(override: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        compose([override])
    assert message in str(caught.value)


def test_a_policy_of_the_library_is_checked_too() -> None:
    with pytest.raises(ValueError, match="average_tokens is 'half': it must be in"):
        load_policy("fastv", "average_tokens=half")


def test_a_refusal_needs_no_pytorch() -> None:
    code = (
        "import sys\nfrom ivcprune import cli\n"
        "sys.argv = ['ivcprune', 'policy.average_tokens=half']\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n"
        "    print(stop.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "2 False\n", done.stderr


@pytest.mark.parametrize(
    ("name", "known", "guess"),
    [
        ("tab99", ["tab1", "tab9", "tab10"], None),
        ("tab", ["tab1", "tab9"], None),
        ("qwen2_5_vl_7", ["qwen2_5_vl_7b", "qwen2_5_vl_3b"], "qwen2_5_vl_7b"),
        ("internvl25_8b", ["internvl2_5_8b", "internvl3_8b"], "internvl2_5_8b"),
        ("fastw", ["fastv", "pdrop"], "fastv"),
        ("fastv2", ["fastv", "pdrop"], "fastv"),
        ("flash_attention_2", ["auto", "flash", "sdpa"], "flash"),
        ("unknown", ["auto", "flash"], None),
    ],
)
def test_another_number_is_no_misspelling(name: str, known: list[str], guess: str | None) -> None:
    said = suggest(name, known)
    assert said.startswith(f"did you mean '{guess}'? " if guess else "choose one of ")
    assert said.endswith(", ".join(sorted(known)))


def test_a_gpu_that_is_not_there_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"'gpu', but PyTorch finds no GPU .*choose trainer=auto"):
        build_trainer(compose(["trainer=gpu"]), [])
