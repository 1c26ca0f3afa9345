"""Several runs of `job=predict` that differ in their policies, in one pass over the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from lightning import Trainer
from omegaconf import DictConfig

from ..evaluation.companions import ending_with_first_process
from ..evaluation.devices import assigned
from ..evaluation.lanes import Lane, LaneCallbacks, LaneData
from ..evaluation.log_file import log_file
from ..evaluation.preparation import Plan, prepare, with_policy_of
from ..evaluation.progress import progress_bar
from ..evaluation.side_by_side import SideBySideModule
from ..evaluation.silence import silence_libraries
from ..evaluation.stopping import record_stop
from ..runs.samples import answered
from .predict import (
    PARALLEL_SWEEP,
    announce,
    finish,
    go_through,
    module_of,
    was_launched_by_rank_0,
    write_provenance,
)


def run(
    cfgs: Sequence[DictConfig],
    overrides: Sequence[Sequence[str]] | None = None,
    only: bool = True,
) -> list[Exception | None]:
    """Predicts, scores and reports all of them, each as `predict.run` would.

    Args:
        cfgs: root configurations that differ in their policy alone; at least one.
        overrides: of the command line, for each; None = of the running job, for all.
        only: this pass is all that the process is to do; several processes are refused otherwise.

    Returns:
        why each of them failed or was refused, None where it is done.

    Raises:
        ValueError: all of them cannot work, for one reason.
    """
    silence_libraries()
    plans, errors = _plans(cfgs)
    for number, given in enumerate(overrides or ()):
        if number in plans:
            plans[number] = plans[number].called_by(given)
    if plans:
        lanes = _lanes(plans)
        with assigned(next(iter(plans.values())).trainer) as placed:
            callbacks = LaneCallbacks()
            trainer = placed.build([callbacks])
            if trainer.world_size > 1 and not only:
                raise ValueError(PARALLEL_SWEEP.format(devices=trainer.world_size))
            _run(trainer, callbacks, list(lanes.values()))
        errors |= {i: lanes[plan.run_dir.path].error for i, plan in plans.items()}
    return [errors[i] for i in range(len(cfgs))]


def _plans(
    cfgs: Sequence[DictConfig],
) -> tuple[dict[int, Plan], dict[int, Exception | None]]:
    """The plans of those that can work, and why the others cannot."""
    plans: dict[int, Plan] = {}
    errors: dict[int, Exception | None] = {}
    for number, cfg in enumerate(cfgs):
        try:
            first = next(iter(plans.values()), None)
            plans[number] = prepare(cfg) if first is None else with_policy_of(cfg, first)
        except Exception as error:
            errors[number] = error
    return plans, errors


def _lanes(plans: Mapping[int, Plan]) -> dict[Path, Lane]:
    """By folder: two policies may come to one run."""
    bar = progress_bar()
    lanes: dict[Path, Lane] = {}
    for plan in plans.values():
        if plan.run_dir.path not in lanes:
            lanes[plan.run_dir.path] = Lane(plan, module_of(plan), bar)
    return lanes


def _run(trainer: Trainer, callbacks: LaneCallbacks, lanes: Sequence[Lane]) -> None:
    plan = lanes[0].plan
    plan.spec.check_devices(trainer.world_size)
    plan.spec.check_attention(plan.attention, trainer.strategy.root_device)
    with ExitStack() as held:
        for lane in lanes:
            _begin(lane, trainer, held)
        going = [lane for lane in lanes if lane.goes_on]
        if not trainer.is_global_zero:
            launched = was_launched_by_rank_0(trainer)
            held.enter_context(ending_with_first_process(plan.run_dir, launched))
            _go_through(trainer, callbacks, going)
            return
        _go_through(trainer, callbacks, going)
        side_by_side = callbacks.lanes if len(callbacks.lanes) > 1 else []
        for lane in going:
            if lane.goes_on:
                _finish(lane, timed=lane not in side_by_side)


def _begin(lane: Lane, trainer: Trainer, held: ExitStack) -> None:
    """Takes the right to write a run, and writes down what it is; else the lane stops.

    Raises:
        Exception: of several processes none goes on without the others' lanes.
    """
    run_dir = lane.plan.run_dir
    try:
        held.enter_context(run_dir.lock(trainer.global_rank))
        run_dir.refuse_other_ranks(trainer.world_size)
        if trainer.is_global_zero:
            with log_file(run_dir):
                write_provenance(lane.plan, trainer.world_size)
        lane.plan.data.meet(answered(run_dir.sample_files))
        if trainer.is_global_zero:
            with log_file(run_dir):
                announce(lane.plan)
    except Exception as error:
        if trainer.world_size > 1:
            raise
        lane.error = error


def _go_through(trainer: Trainer, callbacks: LaneCallbacks, lanes: Sequence[Lane]) -> None:
    """Computes the samples that are not finished."""
    unfinished = [lane for lane in lanes if lane.plan.data.remaining]
    # Of several processes, one may see a row that another does not see yet.
    callbacks.lanes = list(lanes) if trainer.world_size > 1 and unfinished else unfinished
    if not callbacks.lanes:
        return
    try:
        with ExitStack() as logs:
            for lane in callbacks.lanes:
                logs.enter_context(log_file(lane.plan.run_dir))
            go_through(trainer, SideBySideModule(callbacks.lanes), LaneData(callbacks.lanes))
    except BaseException as error:
        for lane in callbacks.lanes:
            if lane.goes_on and trainer.is_global_zero:
                record_stop(lane.plan.run_dir, error)
                lane.error = error if isinstance(error, Exception) else None
        if trainer.world_size > 1 or not isinstance(error, Exception):
            raise


def _finish(lane: Lane, timed: bool) -> None:
    try:
        with log_file(lane.plan.run_dir):
            finish(lane.plan, timed)
    except BaseException as error:
        record_stop(lane.plan.run_dir, error)
        if not isinstance(error, Exception):
            raise
        lane.error = error
