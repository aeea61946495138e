"""From the columns of a feature table to labels; knows no store, no Ray and no media."""

from vidray.labelers.classes import Classes
from vidray.labelers.protocol import Labeler, Ranked
from vidray.labelers.zero_shot import zero_shot

__all__ = ["Classes", "Labeler", "Ranked", "zero_shot"]
