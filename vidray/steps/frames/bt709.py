"""Luma of RGB by ITU-R BT.709, the colors of high definition."""

from __future__ import annotations

import numpy as np

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""The weights of red, green and blue: what `quality` measures and `light` sets is the same luma."""
