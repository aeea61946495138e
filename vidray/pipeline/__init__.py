"""The jobs on Ray: plan, extract, train and index. The only room that imports `ray`.

A worker imports its own modules of this room, and none of the other jobs'.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
