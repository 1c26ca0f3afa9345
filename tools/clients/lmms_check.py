"""Inside the lmms-eval environment: our models in it against `prune`.

python -m tools.clients.lmms_check FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Image, Value
from lmms_eval.evaluator import simple_evaluate
from lmms_eval.models import MODEL_REGISTRY_V2
from lmms_eval.models.registry_v2 import ModelManifest
from lmms_eval.tasks import TaskManager

from ivcprune import load_policy

from .reference import Answer, Reference
from .samples import scenes

N = 40
POLICIES = ("none", "ivc_prune", "fastv")
TASK = "ivcprune_scenes"


def main() -> None:
    folder = Path(sys.argv[1]) / "lmms"
    folder.mkdir(parents=True, exist_ok=True)
    samples = scenes(N, folder)
    os.chdir(folder)
    _write(samples)
    here = "tools.clients.lmms_fake.FakeInner"
    MODEL_REGISTRY_V2.register_manifest(ModelManifest("fake_inner", chat_class_path=here))
    report: dict[str, Any] = {"lmms_eval": version("lmms_eval"), "cases": {}}
    for name in POLICIES:
        reference = Reference(load_policy(name, family="qwen2_5_vl"))
        expected = [reference.answer(text, [picture], 32) for text, picture in samples]
        own = f"model=tiny,policy={name}"
        wrapped = f"inner=fake_inner,policy={name}"
        for batch in (8, 1):
            report["cases"][f"{name}, batch {batch}"] = _case("ivcprune", own, batch, expected)
        report["cases"][f"{name}, wrapped"] = _case("ivcprune_wrap", wrapped, 8, expected)
    report["cache"] = _cache()
    report["refused"] = {
        "blind": _refusal("ivcprune_wrap", "inner=fake_inner,policy=ivc_prune,blind=True", None),
        "cache without identity": _refusal("ivcprune", "model=tiny,policy=ivc_prune", "cache"),
        "identity of another policy": _refusal(
            "ivcprune", "model=tiny,policy=ivc_prune,identity=0.0-0", None
        ),
    }
    print("RESULT " + json.dumps(report))


def _write(samples: list[tuple[str, Any]]) -> None:
    columns = Features(image=Image(), text=Value("string"), answer=Value("string"))
    rows = [{"image": picture, "text": text, "answer": ""} for text, picture in samples]
    Dataset.from_list(rows, features=columns).to_parquet("scenes.parquet")


def _evaluate(model: str, arguments: str, batch: int, cache: str | None) -> Any:
    tasks = TaskManager(include_path=str(Path(__file__).parent / "lmms_task"), model_name=model)
    return simple_evaluate(
        model=model,
        model_args=arguments,
        tasks=[TASK],
        batch_size=batch,
        device="cpu",
        use_cache=cache,
        task_manager=tasks,
        log_samples=True,
    )


def _texts(results: Any) -> dict[int, str]:
    return {row["doc_id"]: row["filtered_resps"][0] for row in results["samples"][TASK]}


def _case(model: str, arguments: str, batch: int, expected: list[Answer]) -> dict[str, str]:
    log = Path(f"tokens-{model}-{batch}-{abs(hash(arguments))}.jsonl")
    log.unlink(missing_ok=True)
    texts = _texts(_evaluate(model, f"{arguments},token_log={log}", batch, None))
    rows = {row["doc_id"]: row for row in map(json.loads, log.read_text().splitlines())}
    found = [(texts[i], rows[i]["n_visual"], rows[i]["n_kept"], rows[i]["kv_bytes"]) for i in rows]
    wanted = [(e.text, e.n_visual, e.n_kept, e.kv_bytes) for e in expected]
    pairs = [(found_row, wanted[i]) for found_row, i in zip(found, rows, strict=True)]
    names = {"texts": slice(0, 1), "kept": slice(1, 3), "bytes": slice(3, 4)}
    return {
        name: f"{sum(ours[part] == theirs[part] for ours, theirs in pairs)} of {N}"
        for name, part in names.items()
    }


def _cache() -> dict[str, Any]:
    arguments = "model=tiny,policy=ivc_prune"
    identity = _refusal("ivcprune", arguments, "cache").split("identity=")[1].split()[0]
    results = []
    log = Path("cached.jsonl")
    for _ in range(2):
        log.unlink(missing_ok=True)
        given = f"{arguments},identity={identity},token_log={log}"
        results.append(_texts(_evaluate("ivcprune", given, 8, "cache")))
    same = sum(results[0][i] == results[1][i] for i in range(N))
    computed = len(log.read_text().splitlines()) if log.exists() else 0
    return {"equal_on_second_run": f"{same} of {N}", "computed_on_second_run": computed}


def _refusal(model: str, arguments: str, cache: str | None) -> str:
    try:
        _evaluate(model, arguments, 1, cache)
    except ValueError as error:
        return str(error)
    return "NOT REFUSED"


if __name__ == "__main__":
    main()
