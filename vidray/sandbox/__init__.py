"""The sandbox: untrusted media is probed and decoded in a child process, which may crash, hang or grow.

The child is started fresh, without credentials, and opens nothing: a local file reaches it as an open descriptor, a
remote one as byte ranges that the owner reads. Whatever it does costs the clip at hand, with a reason, and no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidray.sandbox.limits import Limits
    from vidray.sandbox.owner import Sandbox, frames_of

__all__ = ["Limits", "Sandbox", "frames_of"]


def __getattr__(name: str) -> Any:
    # the child imports this package too, and has no use for the owner's side
    if name == "Limits":
        from vidray.sandbox.limits import Limits

        return Limits
    if name in ("Sandbox", "frames_of"):
        from vidray.sandbox import owner

        return getattr(owner, name)
    raise AttributeError(f"module 'vidray.sandbox' has no attribute {name!r}")
