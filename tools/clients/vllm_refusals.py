"""Inside the vLLM environment: settings that must be refused before weights load.

python -m tools.clients.vllm_refusals FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from vllm.engine.arg_utils import EngineArgs

from .samples import served_model

BAD: dict[str, dict[str, Any]] = {
    "all layers above 0": {"policy": "ivc_prune"},
    "from a stage above 0": {"policy": "fastv"},
    "several stages": {"policy": "pdrop"},
    "tower and merging": {"policy": "vscan"},
    "annotation": {"policy": "pattern_none"},
    "unknown policy": {"policy": "ivc_prun"},
    "unknown setting": {"policy": "divprune", "keep": 0.5},
    "a layer too deep": {"policy": "ivc_prune", "layer": 6},
    "values of no layer": {"policy": "ivc_prune", "layer": 0},
}


def main() -> None:
    model = str(served_model(Path(sys.argv[1])))
    refused = {}
    for name, settings in BAD.items():
        try:
            EngineArgs(model=model, hf_overrides={"ivcprune": settings}).create_engine_config()
        except ValueError as error:
            refused[name] = " ".join(str(error).split())
    missing = sorted(set(BAD) - set(refused))
    print("RESULT " + json.dumps({"refused": refused, "not_refused": missing}))


if __name__ == "__main__":
    main()
