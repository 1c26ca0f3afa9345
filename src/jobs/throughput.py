"""`ivcprune job=throughput`: samples a second of the evaluation loop, by batch size and workers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from ..api import load_policy, resolve_layers
from ..checks import check_at_least, check_each_at_least
from ..configuration.build import build_decoding, build_model_spec, build_source, build_trainer
from ..data.datamodule import PredictData
from ..data.prompts import check_prompts, for_benchmark
from ..efficiency.passes import Loop, Watcher, in_turns
from ..efficiency.throughput_results import table_of, write
from ..evaluation.module import PredictModule
from ..evaluation.preparation import settle_process
from ..evaluation.silence import silence_libraries
from ..models.loading import ModelSpec
from ..models.registry import family_named
from ..policy import PruningPolicy
from ..report.console import table_console
from ..runs.environment import timing_environment

log = logging.getLogger(__name__)


def run(
    cfg: DictConfig,
    output_dir: str,
    policies: Sequence[str],
    batch_sizes: Sequence[int],
    num_workers: Sequence[int],
    samples: int,
    rounds: int,
) -> None:
    """Measures every setting, prints a table, writes `throughput.json`, `README.md` and a plot.

    Args:
        cfg: the root configuration; `model`, `data` and `trainer` say what is measured.
        output_dir: where the files go.
        policies: names, with the published settings of the model's family.
        batch_sizes: the first is what the others are compared with.
        num_workers: processes beside the main one; 0 = none.
        samples: of the benchmark; `data.limit` comes first where it is given.
        rounds: passes with each setting.

    Raises:
        ValueError, FileNotFoundError: a number, a name or anything in `cfg` does not fit; before
            weights are loaded.
    """
    check_each_at_least("job.batch_sizes", batch_sizes, 1)
    check_each_at_least("job.num_workers", num_workers, 0)
    check_at_least("job.samples", samples, 1)
    check_at_least("job.rounds", rounds, 1)
    settle_process(cfg)
    silence_libraries()
    spec, decoding = build_model_spec(cfg), build_decoding(cfg)
    spec.check()
    chosen = _policies(policies, spec)
    watcher = Watcher()
    trainer = build_trainer(cfg, [watcher])
    if trainer.world_size > 1:
        raise ValueError("job=throughput measures one device: choose trainer=gpu or trainer=cpu")
    data = _data(cfg, spec, samples)
    module = PredictModule(spec, data.collate.processor, chosen[0], cfg.attention, decoding)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        loop = Loop(trainer, watcher, module, data)
        passes = in_turns(loop, chosen, batch_sizes, num_workers, rounds)
    grid = table_of(passes)
    table_console().print(grid.rich())
    facts = {
        "model": spec.name,
        "data": f"{data.source.name}, {data.total} samples",
        "attention": module.model.config._attn_implementation,  # type: ignore[union-attr]
        "rounds": rounds,
        **timing_environment(trainer.strategy.root_device),
    }
    folder = Path(output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, facts, passes, grid)
    log.info("results: %s", folder)


def _policies(names: Sequence[str], spec: ModelSpec) -> list[PruningPolicy]:
    """The policies of these names, each of which fits the model."""
    if not names:
        raise ValueError("job.policies is empty: name at least one, for example [none]")
    policies = [load_policy(name, family=spec.family) for name in dict.fromkeys(names)]
    for policy in policies:
        resolve_layers(policy, spec)
    return policies


def _data(cfg: DictConfig, spec: ModelSpec, samples: int) -> PredictData:
    source, processor = build_source(cfg), spec.load_processor()
    prompts = for_benchmark(spec.prompts, source.name)
    data = PredictData(
        source=source,
        family=family_named(spec.family),
        processor=processor,
        prompts=prompts,
        batch_size=1,
        cache_dir=Path(cfg.paths.cache_dir).expanduser(),
        limit=samples if cfg.data.limit is None else cfg.data.limit,
        subset_seed=cfg.data.subset_seed,
    )
    data.setup()
    check_prompts(prompts, data.tasks, spec.name)
    return data
