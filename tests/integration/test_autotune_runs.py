"""`job=autotune` on bundled models: its divergences against plain decoding, resuming, failures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from ivcprune import cli, load_policy, prune
from ivcprune.api import bind
from ivcprune.autotune.comparison import UNPRUNED, VANILLA, Comparison
from ivcprune.autotune.probe import probe
from ivcprune.autotune.rows import FILE
from ivcprune.configuration.build import build_model_spec, compose
from ivcprune.efficiency.measure import count
from ivcprune.jobs import autotune, predict
from ivcprune.models.registry import family_named
from ivcprune.runs.read import load_runs
from ivcprune.selectors import RandomSelector
from sweep_helpers import SIZES, command, write_pairs

MODELS = ("tiny", "tiny_llava")
POLICIES = ("ivc_prune", "fastv")
TOKENS = 4


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments: five ragged samples, some of two pictures; nobody gives their answers."""
    folder = tmp_path_factory.mktemp("prompts")
    write_pairs(folder)
    return [
        "data=prompts",
        f"data.path={folder / 'pairs.jsonl'}",
        "data.columns={image: pictures, question: question}",
        f"paths.cache_dir={folder / 'cache'}",
        f"model.max_new_tokens={TOKENS}",
        "batch_size=3",
        "trainer=cpu",
    ]


def run(
    prompts: list[str], model: str, folder: Path, *overrides: str, **options: Any
) -> tuple[dict[str, Any], dict[tuple[str, str], dict[str, Any]]]:
    """`autotune.json`, and the rows by candidate and sample."""
    cfg = compose(["job=autotune", f"model={model}", *prompts, *overrides])
    given = {"target": {"kv": 0.5}, "policies": POLICIES, "layers": [1, 2], **options}
    autotune.run(cfg, output_dir=str(folder), **given)
    (result,) = folder.glob("*/kv50/autotune.json")
    return json.loads(result.read_text()), rows_in(result.parents[1])


def rows_in(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    rows = map(json.loads, (folder / FILE).read_text().splitlines())
    return {(row["candidate"], row["sample_id"]): row for row in rows}


Tuned = tuple[str, Path, dict[str, Any], dict[tuple[str, str], dict[str, Any]]]


@pytest.fixture(scope="module")
def of_tiny(prompts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    folder = tmp_path_factory.mktemp("tiny")
    return ("tiny", folder, *run(prompts, "tiny", folder))


@pytest.fixture(scope="module")
def of_tiny_llava(prompts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    folder = tmp_path_factory.mktemp("tiny_llava")
    return ("tiny_llava", folder, *run(prompts, "tiny_llava", folder))


@pytest.fixture(params=MODELS)
def tuned(request: pytest.FixtureRequest) -> Tuned:
    found: Tuned = request.getfixturevalue(f"of_{request.param}")
    return found


@torch.inference_mode()
def decoded(model: Any, inputs: Mapping[str, Any], said: list[int] | None) -> Any:
    """Plain decoding, greedy or made to say something."""
    length = inputs["input_ids"].shape[1]
    forced = None if said is None else lambda _, ids: [said[len(ids) - length]]
    return model.generate(
        **inputs,
        max_new_tokens=TOKENS if said is None else len(said),
        do_sample=False,
        prefix_allowed_tokens_fn=forced,
        output_logits=True,
        return_dict_in_generate=True,
    )


def test_divergences_are_those_of_plain_decoding_one_sample_at_a_time(
    tuned: Any, prompts: list[str]
) -> None:
    name, _, result, rows = tuned
    cfg = compose([f"model={name}", *prompts])
    spec = build_model_spec(cfg)
    data, model = autotune._data(cfg, spec), spec.load_model()
    keys = {one["label"]: one for one in result["candidates"]}
    assert {one["method"] for one in keys.values()} == set(POLICIES)
    for number, sample_id in enumerate(data.ids):
        batch = data.collate([data.selected.with_format("arrow")[[number]].to_pylist()])
        answer = decoded(model, batch.inputs, None)
        said = answer.sequences[0, batch.inputs["input_ids"].shape[1] :].tolist()
        p = torch.stack(answer.logits)[:, 0].log_softmax(-1)
        for one in keys.values():
            policy = load_policy(
                one["method"],
                f"stages.select.layer={one['layers']['select']}",
                "average_tokens=0.5",
                family=spec.family,
            )
            with prune(model, policy) as run:
                run.identify([sample_id])
                q = torch.stack(decoded(model, batch.inputs, said).logits)[:, 0].log_softmax(-1)
            row = rows[one["key"], sample_id]
            expected = (p.exp() * (p - q)).sum(-1).mean().item()
            assert row["kl"] == pytest.approx(expected, abs=2e-5)
            assert row["tokens"] == len(said)
            assert row["average_tokens"] == run.stats.average_tokens
            assert row["same"] == (q.argmax(-1).tolist() == said)


def test_the_unpruned_model_is_itself(tuned: Any) -> None:
    _, _, result, rows = tuned
    noise = [row["kl"] for (key, _), row in rows.items() if key == "none"]
    assert len(noise) == len(SIZES)
    assert max(noise) < 1e-6
    pruned = [row["kl"] for (key, _), row in rows.items() if key != "none"]
    assert max(pruned) > 1e-3
    assert result["noise"]["value"] < 1e-6


def test_costs_are_measured(tuned: Any) -> None:
    _, _, result, rows = tuned
    for one in result["candidates"]:
        own = [row for (key, _), row in rows.items() if key == one["key"]]
        spent, whole = (sum(row[name] for row in own) for name in ("flops", "whole_flops"))
        assert one["prefill"] == pytest.approx(spent / whole)
        assert one["layers"]["select"] / 6 < one["prefill"] < 1
        assert one["average_tokens"] == pytest.approx(0.5, abs=0.02)
        assert one["n"] == len(SIZES)


@pytest.mark.parametrize("method", ["ivc_prune", "pdrop", "sparsevlm"])
def test_the_prefill_is_what_the_counter_counts(method: str, prompts: list[str]) -> None:
    """As `job=efficiency` has it: one through its limit; tokens that stages add count too."""
    cfg = compose(["model=tiny", *prompts])
    spec = build_model_spec(cfg)
    data, model = autotune._data(cfg, spec), spec.load_model()
    prefills, _ = probe(model, data)
    inputs = data.collate([data.selected.with_format("arrow")[[1]].to_pylist()]).inputs
    policy = load_policy(method, "average_tokens=0.5", family=spec.family)
    counted = [count(model, inputs, p).language.total for p in (policy, VANILLA)]
    with prune(model, policy) as run, torch.inference_mode():
        model.generate(**inputs, max_new_tokens=1)
    bound = bind(policy, family_named(spec.family), model.config)
    spent = [prefills.measured(p, run.stats, 0) for p in (bound, UNPRUNED)]
    assert spent[0] / spent[1] == pytest.approx(counted[0] / counted[1], rel=1e-9)


def test_one_pass_finds_what_passes_apart_find(
    of_tiny: Any, prompts: list[str], tmp_path: Path
) -> None:
    name, _, result, rows = of_tiny
    apart, others = run(prompts, name, tmp_path, "sweep=separate")
    assert others.keys() == rows.keys()
    for key, row in rows.items():
        assert others[key]["kl"] == pytest.approx(row["kl"], abs=1e-6)
    assert apart["chosen"] == result["chosen"]


def test_what_is_found_is_not_computed_again(
    of_tiny: Any, prompts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another target and another method: the rows that are there stay, and are used."""
    name, folder, result, rows = of_tiny
    seen: list[list[str]] = []
    compute = Comparison._rows

    def counted(self: Comparison, batch: Any, candidates: Any, shared: bool) -> Any:
        seen.append([candidate.label for candidate in candidates])
        return compute(self, batch, candidates, shared)

    monkeypatch.setattr(Comparison, "_rows", counted)
    again, _ = run(prompts, name, folder)
    assert seen == []
    assert again["candidates"] == result["candidates"]
    more, _ = run(prompts, name, folder, policies=(*POLICIES, "random"), layers=[1])
    assert seen == [["random, layer 1, 50 %"]] * 2  # batches
    assert {one["method"] for one in more["candidates"]} == {*POLICIES, "random"}
    (file,) = folder.glob("*/agreement.jsonl")
    assert len(file.read_text().splitlines()) == len(rows) + 2 * len(SIZES)  # and the reference


def test_an_edited_prompt_is_asked_anew_and_the_others_are_not(
    prompts: list[str], tmp_path: Path
) -> None:
    """Same command, same file, same ids: rows of the old prompt must not stand for the new one."""
    data = tmp_path / "data"
    data.mkdir()
    write_pairs(data)
    file = data / "pairs.jsonl"
    asked = [*prompts, f"data.path={file}"]
    options: dict[str, Any] = {"policies": ["ivc_prune"], "layers": [1]}
    _, before = run(asked, "tiny", tmp_path / "out", **options)
    first, *others = file.read_text().splitlines()
    changed = json.dumps(json.loads(first) | {"question": "how many objects are there ?"})
    file.write_text("\n".join([changed, *others]))
    result, after = run(asked, "tiny", tmp_path / "out", **options)
    differ = {sample for (key, sample), row in after.items() if row != before[key, sample]}
    assert differ == {"000000"}
    (one,) = result["candidates"]
    kls = [row["kl"] for (key, _), row in after.items() if key == one["key"]]
    assert one["kl"]["value"] == pytest.approx(sum(kls) / len(kls))


def test_a_candidate_that_fails_is_named_and_leaves_the_others_going(
    prompts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: RandomSelector, tokens: Any) -> Any:
        raise RuntimeError("no dice")

    with monkeypatch.context() as patch:
        patch.setattr(RandomSelector, "score", broken)
        result, _ = run(prompts, "tiny", tmp_path, policies=("random", "ivc_prune"), layers=[1])
    assert result["chosen"] == "ivc_prune, layer 1, 50 %"
    (reason,) = result["failed"].values()
    assert "RuntimeError: no dice (samples" in reason
    (page,) = tmp_path.glob("*/kv50/autotune.html")
    assert "random, layer 1, 50 %: RuntimeError: no dice" in page.read_text()
    mended, _ = run(prompts, "tiny", tmp_path, policies=("random", "ivc_prune"), layers=[1])
    assert mended["failed"] == {}
    assert len(mended["candidates"]) == 2


def test_the_written_policy_runs_from_the_command_line(
    of_tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, folder, result, _ = of_tiny
    (file,) = folder.glob("*/kv50/policy/*.yaml")
    data = [f"data=scenes data.size=2 paths.output_dir={tmp_path} trainer=cpu overlays=0".split()]
    arguments = [f"policy={file}", f"model={name}", "model.max_new_tokens=4", *data[0]]
    assert command(monkeypatch, *arguments, f"paths.cache_dir={tmp_path / 'cache'}") == 0
    (done,) = load_runs(tmp_path / "default")
    (chosen,) = [one for one in result["candidates"] if one["label"] == result["chosen"]]
    assert done.policy == file.stem
    assert dict(done.layers) == chosen["layers"]
    assert done.average_tokens == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("options", "overrides", "sentence"),
    [
        ({"target": {"kv": 2.0}}, [], "job.target.kv is 2.0"),
        ({"target": {}}, [], "job.target is empty"),
        ({"target": 0.5}, [], "job.target is 0.5: give a share by name"),
        ({"policies": []}, [], r"job.policies is \[\]: give a list of names"),
        ({"policies": "fastv"}, [], "job.policies is 'fastv': give a list of names"),
        ({"policies": ["fastv"], "layers": [4, 5]}, [],
         r"job.target \(kv 50 %\) is within no candidate's reach; the nearest .* kv 66.7 %"),
        ({"layers": [6]}, [], "job.layers has 6, but model 'tiny' has 6 decoder layers"),
        ({"layers": []}, [], r"job.layers is \[\]: give a list"),
        ({"layers": 3}, [], "job.layers is 3: give a list"),
        ({"budgets": [0.0]}, [], "job.budgets is 0.0"),
        ({"limit": 0}, [], "job.limit is 0"),
        ({}, ["generation.do_sample=true"], "generation.do_sample is True"),
        ({}, ["trainer=ddp_sim"], "job=autotune uses one device"),
    ],
)  # fmt: skip
def test_a_mistake_shows_before_weights_are_loaded(
    options: dict[str, Any],
    overrides: list[str],
    sentence: str,
    prompts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_model(*_: object, **__: object) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr("ivcprune.models.loading.ModelSpec.load_model", no_model)
    with pytest.raises(ValueError, match=sentence):
        run(prompts, "tiny", tmp_path / "none", *overrides, **options)
    assert not (tmp_path / "none").exists()


def test_prompts_without_answers_are_no_benchmark(prompts: list[str], tmp_path: Path) -> None:
    cfg = compose([*prompts, f"paths.output_dir={tmp_path}"])
    with pytest.raises(ValueError, match="prompt"):
        predict.run(cfg)


@pytest.mark.parametrize(
    "override",
    ["policy=fastv", "policy.average_tokens=0.4", "selector@policy.stages.select.selector=random"],
)
def test_a_policy_beside_those_that_are_tried_is_refused(
    override: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["ivcprune", "job=autotune", override])
    with pytest.raises(SystemExit):
        cli.main()
    assert f"{override} has no part in job=autotune" in capsys.readouterr().err
