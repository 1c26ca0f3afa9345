"""Lets a torchvision built for CUDA be imported beside a torch without it.

The only builds that some indexes have need CUDA's libraries for their compiled operators, and the
package fails on import where these are missing. Nothing here uses the operators. Loaded at start by
the file `torchvision_without_cuda.pth` in a virtual environment; torch is imported only when
torchvision is.
"""

import sys
from importlib.abc import MetaPathFinder


class _Declaring(MetaPathFinder):
    """Declares the operators whose absence stops the import, then steps aside."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
            _kept.append(library)  # it takes its declarations along when it goes


_kept: list[object] = []
sys.meta_path.insert(0, _Declaring())
