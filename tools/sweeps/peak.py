"""Prints the peak memory, in MiB, of the pass over eight policies or of vanilla alone."""

from __future__ import annotations

import sys

from ivcprune.configuration.build import compose

from .__main__ import mid_model
from .subjects import Policies, of_demo, own_peak_mib

if __name__ == "__main__":
    mode, new_tokens = sys.argv[1], int(sys.argv[2])
    subject = mid_model(compose(["job=efficiency"]))
    policies = of_demo(subject.family)
    chosen = policies if mode == "shared" else policies[:1]
    Policies(subject, chosen, 1024, new_tokens).run("shared")
    print(own_peak_mib())
