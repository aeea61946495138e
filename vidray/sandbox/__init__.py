"""The sandbox: untrusted media is probed and decoded in a child process, which may crash, hang or grow.

The child is started fresh, without credentials, and opens nothing: a local file reaches it as an open descriptor, a
remote one as byte ranges that the owner reads. Whatever it does costs the clip at hand, with a reason, and no other.
"""

from vidray.sandbox.owner import Limits, Sandbox

__all__ = ["Limits", "Sandbox"]
