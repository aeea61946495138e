"""torchvision without torch's compiler, which it imports in full for one function that inference does not call.

`torchvision.ops.roi_align` asks `torch._dynamo.utils` whether a device can compile. The compiler takes some
five seconds of processor time, in every worker. torchvision is pinned, and a test sees that all else works.
"""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType
from typing import Any

COMPILER = ("torch._dynamo", "torch._dynamo.utils")


@cache
def torchvision_models() -> Any:
    """The module `torchvision.models`; the compiler is left to be imported by whoever needs it."""
    import torch  # noqa: F401  torchvision must not be what imports it, with its compiler missing

    stand_ins = {name: ModuleType(name) for name in COMPILER if name not in sys.modules}
    for stand_in in stand_ins.values():
        stand_in.is_compile_supported = _no_compiler  # type: ignore[attr-defined]
    sys.modules.update(stand_ins)
    try:
        from torchvision import models
    finally:
        for name in stand_ins:
            del sys.modules[name]
    return models


def _no_compiler(device_type: object) -> bool:
    return False
