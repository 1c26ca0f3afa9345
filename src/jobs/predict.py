"""`job=predict`, the default: all samples of a benchmark under one policy."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from omegaconf import DictConfig

from ..evaluation.companions import ending_with_first_process
from ..evaluation.devices import assigned
from ..evaluation.judging import settle
from ..evaluation.log_file import log_file
from ..evaluation.marking import leave_mark
from ..evaluation.module import PredictModule
from ..evaluation.preparation import Plan, prepare
from ..evaluation.progress import ProgressReport
from ..evaluation.silence import silence_libraries
from ..evaluation.stopping import record_stop
from ..evaluation.summary import print_summary
from ..evaluation.unread import unread_warnings
from ..evaluation.writer import SampleWriter
from ..runs import results
from ..runs.directory import new_status, now
from ..runs.environment import environment
from ..runs.samples import answered, merge, read_rows, write_table
from ..runs.schema import Metrics, SampleRow

log = logging.getLogger(__name__)

PARALLEL_SWEEP = (
    "a sweep (--multirun) with {devices} devices a job would repeat the whole sweep in every "
    "process: use one device a job (trainer=gpu) and a launcher that runs several jobs at once, "
    "such as hydra/launcher=joblib with trainer=free_gpu, or hydra/launcher=submitit_slurm; a "
    "sweep over policies alone can be one job of all devices (sweep=shared)"
)


def run(cfg: DictConfig) -> None:
    """Predict, score and report; a run that was stopped goes on where it was.

    Whatever is wrong with the configuration shows before weights are loaded.

    Args:
        cfg: the root configuration, see `conf/config.yaml`.

    Raises:
        ValueError, FileNotFoundError: the configuration cannot work; one sentence says why.
        BlockingIOError: another process is at the same run.
    """
    silence_libraries()
    plan = prepare(cfg)
    with assigned(plan.trainer) as placed:
        callbacks = [
            SampleWriter(plan.run_dir, plan.data),
            ProgressReport(plan.run_dir, plan.data, plan.label),
        ]
        _run(plan, placed.build(callbacks))


def _run(plan: Plan, trainer: Trainer) -> None:
    _refuse_parallel_sweep(trainer)
    plan.spec.check_devices(trainer.world_size)
    plan.spec.check_attention(plan.attention, trainer.strategy.root_device)
    with plan.run_dir.lock(trainer.global_rank):
        plan.run_dir.refuse_other_ranks(trainer.world_size)
        if not trainer.is_global_zero:
            ending = ending_with_first_process(plan.run_dir, was_launched_by_rank_0(trainer))
            with log_file(plan.run_dir), ending:
                _predict(plan, trainer)
            return
        with log_file(plan.run_dir):
            try:
                write_provenance(plan, trainer.world_size)
                _predict(plan, trainer)
                finish(plan)
            except BaseException as error:
                record_stop(plan.run_dir, error)
                raise


def _predict(plan: Plan, trainer: Trainer) -> None:
    """Computes the samples that are not finished; failed ones are tried again."""
    data = plan.data
    data.meet(answered(plan.run_dir.sample_files))
    if trainer.is_global_zero:
        announce(plan)
    if data.remaining == 0:
        return
    go_through(trainer, module_of(plan), data)


def module_of(plan: Plan) -> PredictModule:
    """What answers the samples of a run; loads nothing yet."""
    return PredictModule(
        plan.spec,
        plan.processor,
        plan.policy,
        plan.attention,
        plan.decoding,
        plan.shown,
        plan.parser,
    )


def go_through(trainer: Trainer, module: LightningModule, data: LightningDataModule) -> None:
    """Predicts all batches; nothing is returned, since callbacks write it."""
    with warnings.catch_warnings():
        # Advice on loops in general, and deprecations between Lightning and PyTorch.
        warnings.filterwarnings("ignore", module=r"lightning\.")
        trainer.predict(module, datamodule=data, return_predictions=False)


def announce(plan: Plan) -> None:
    """How much of a run is finished, and what keeps its judge from being asked."""
    total, finished = plan.data.total, plan.data.total - plan.data.remaining
    if finished == total:
        log.info("already finished: nothing to compute")
    elif finished:
        log.info("resumed: %d of %d samples were finished", finished, total)
    if stale := len(plan.data.edited.keys() - plan.data.finished):
        log.info("asked anew, since they were edited after they were answered: %d samples", stale)
    if obstacle := plan.judge.obstacle():
        log.warning("%s, so nothing is judged: set it and run the command again", obstacle)


def finish(plan: Plan, timed: bool = True) -> None:
    """Merges the rows of all ranks, has them judged, writes the results, reports them.

    Args:
        timed: the samples a second are those of this run alone.
    """
    run_dir, data = plan.run_dir, plan.data
    rows = results.complete_failures(
        merge(read_rows(run_dir.sample_files, data.edited), data.ids), data.selected
    )
    failed = [row for row in rows if row.error is not None]
    rows, judgement = settle(rows, data.selected, plan.judge, plan.metrics, plan.cache_dir)
    benchmark, published = (
        results.benchmark_scores(plan.metrics, data.selected, reading)
        for reading in (rows, [row.as_published() for row in rows])
    )
    status = replace(
        run_dir.read_status() or new_status(),
        state="done",
        done=len(rows),
        total=len(rows),
        errors=len(failed),
        updated=now(),
    )
    if not timed:
        status = replace(status, samples_per_second=None)
    metrics: Metrics = {
        "policy": plan.policy.name,
        "model": plan.spec.name,
        "data": data.source.name,
        "layers": plan.layers,
        **results.metrics(rows, status, benchmark, judgement, published),
    }
    write_table(run_dir.path, rows)
    results.write_tokens(run_dir, plan.shown)
    run_dir.write_json("metrics.json", metrics)
    run_dir.write_status(status)
    print_summary(metrics)
    _warn_of_failures(failed, len(rows))
    unread = unread_warnings(rows, plan.spec.box_format, plan.judge.name)
    for warning in unread:
        log.warning(warning)
    log.info("results: %s", run_dir.path)
    try:
        plan.logger.log(run_dir.path, plan.origin.as_config())
    # Whatever a remote service or its client does, the results are on the disk.
    except Exception as error:
        log.warning("the run logger failed (%s): run the command again to log the run", error)
        log.debug("the run logger failed", exc_info=True)
    if not failed and not unread:
        leave_mark(plan)


def _warn_of_failures(failed: list[SampleRow], total: int) -> None:
    if failed:
        ids = ", ".join([row.sample_id for row in failed[:5]] + ["..."] * (len(failed) > 5))
        log.warning(
            f"{len(failed)} of {total} samples failed ({ids}), the first by {failed[0].error}: "
            "the same command tries them again, once that is mended"
        )


def write_provenance(plan: Plan, world_size: int) -> None:
    """What a run is made of, and where."""
    run_dir, origin = plan.run_dir, plan.origin
    run_dir.write_text("config.yaml", origin.config)
    run_dir.write_text("overrides.txt", "".join(f"{override}\n" for override in origin.overrides))
    run_dir.write_json("env.json", environment(world_size, origin.weights, origin.code))


def was_launched_by_rank_0(trainer: Trainer) -> bool:
    """Whether Lightning started this process; torchrun and SLURM start all at once."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return isinstance(environment, LightningEnvironment) and trainer.num_nodes == 1


def _refuse_parallel_sweep(trainer: Trainer) -> None:
    sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if sweep and trainer.world_size > 1:
        raise ValueError(PARALLEL_SWEEP.format(devices=trainer.world_size))
