"""Where things are: the rules of CONTRIBUTING that import-linter does not hold."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

SRC = Path(__file__).parents[2] / "src"
JOBS = sorted(
    f.name.removesuffix(".yaml")
    for f in (files("ivcprune.conf") / "job").iterdir()
    if f.name.endswith(".yaml")
)
SEVERAL_AT_ONCE = "side_by_side"
"""`predict` of several policies in one pass, which `cli` starts in its place."""
MAY_READ_CFG = {
    "evaluation/preparation.py",  # `prepare`, once, for all that follows
    "runs/key.py",  # the key is of the configuration itself
    "runs/finished.py",  # as is the mark of a command that has nothing left to compute
    "evaluation/repeated.py",  # which it is looked up for, before anything is prepared
    "autotune/candidates.py",  # a policy's own part of it, which the job varies and writes
    "report/loggers.py",  # a logger is given the configuration that the run has noted
    "report/wandb_logger.py",
}
"""Files outside `configuration/`, `cli.py` and `jobs/` that know the configuration's class."""


def test_every_job_has_a_module_of_its_name_and_every_module_a_job() -> None:
    modules = {path.stem for path in (SRC / "jobs").glob("*.py")} - {"__init__", SEVERAL_AT_ONCE}
    assert modules == set(JOBS)


@pytest.mark.parametrize("job", JOBS)
def test_a_job_runs_what_its_file_names(job: str) -> None:
    text = (files("ivcprune.conf") / "job" / f"{job}.yaml").read_text("utf-8")
    target = yaml.safe_load(text)["_target_"]
    assert target == f"ivcprune.jobs.{job}.run"
    module = import_module(f"ivcprune.jobs.{job}")
    assert next(iter(inspect.signature(module.run).parameters)) == "cfg"


def knowing_cfg() -> Iterator[tuple[str, str]]:
    """File and function of every parameter that is annotated as a DictConfig."""
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if any(
                    a.annotation and "DictConfig" in ast.unparse(a.annotation) for a in arguments
                ):
                    yield path.relative_to(SRC).as_posix(), node.name


def test_the_configuration_is_read_where_a_run_is_prepared() -> None:
    elsewhere = {
        file
        for file, _ in knowing_cfg()
        if not file.startswith(("configuration/", "jobs/")) and file != "cli.py"
    }
    assert elsewhere == MAY_READ_CFG


def test_of_a_run_only_its_entrance_has_the_configuration() -> None:
    assert [name for file, name in knowing_cfg() if file == "jobs/predict.py"] == ["run"]
    assert [name for file, name in knowing_cfg() if file == "jobs/attention_mass.py"] == ["run"]
