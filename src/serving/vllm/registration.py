"""Entry point `vllm.general_plugins`: imports nothing heavy, and may be called again.

What it enters stays in the process, as with every plugin of this kind: vLLM calls it without
arguments in each of its processes (`vllm/plugins/__init__.py:77`, 0.32.0), and never to undo it;
`VLLM_PLUGINS` chooses which are called. Models have `ModelRegistry.register_model`. For a look at
the configuration before weights load vLLM 0.32.0 has no registration: both places that take one
(`vllm/config/vllm.py:2648`, `vllm/config/model.py:1505`) read the dictionary `MODELS_CONFIG_MAP`
(`vllm/model_executor/models/config.py:1063`) and nothing else. A configuration parser
(`register_config_parser`, `vllm/transformers_utils/config.py:501`) is asked only under a
`--config-format` of its own and does not see the engine's options; a platform plugin replaces the
platform. So entries are written into that dictionary, around those that are there; without our
settings in the model's configuration they only pass on.
"""

from __future__ import annotations

from typing import Any

from .engine import check_engine, check_version
from .settings import KEY

MODELS = {
    "Qwen2VLForConditionalGeneration": "PrunedQwen2VL",
    "Qwen2_5_VLForConditionalGeneration": "PrunedQwen25VL",
    "Qwen3VLForConditionalGeneration": "PrunedQwen3VL",
}
"""Our class for each of vLLM's architectures."""


def register() -> None:
    """Our models in the place of vLLM's, and a look at every configuration before weights load."""
    import vllm
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP
    from vllm.model_executor.models.registry import ModelRegistry

    check_version(vllm.__version__)
    for architecture, name in MODELS.items():
        ModelRegistry.register_model(architecture, f"{__package__}.models:{name}")
    for architecture in ModelRegistry.get_supported_archs():
        earlier = MODELS_CONFIG_MAP.get(architecture)
        if not isinstance(earlier, Looking):
            MODELS_CONFIG_MAP[architecture] = Looking(earlier)


class Looking:
    """In vLLM's map of what to do with a model's configuration: settings are never overlooked.

    Those of a model that cannot be pruned would have no effect, and nobody would notice.
    """

    def __init__(self, earlier: Any) -> None:
        self._earlier = earlier

    def verify_and_update_model_config(self, model_config: Any) -> None:
        if self._earlier is not None:
            self._earlier.verify_and_update_model_config(model_config)

    def verify_and_update_config(self, vllm_config: Any) -> None:
        config = vllm_config.model_config.hf_config
        if getattr(config, KEY, None) is not None:
            from vllm.logger import init_logger

            from .picture import check_sizes  # imports transformers, as the next one
            from .plan import plan_of

            if (plan := plan_of(config)) is not None:
                check_sizes(plan)
                check_engine(plan, vllm_config)
                init_logger(__name__).info("ivcprune: %s", plan.in_words())
        if self._earlier is not None:
            self._earlier.verify_and_update_config(vllm_config)
