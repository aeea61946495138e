"""From the columns of a feature table to labels; knows no store, no Ray and no media."""

from vidray.labels.classes import Classes
from vidray.labels.protocol import Labeler, Ranked
from vidray.labels.zero_shot import zero_shot

__all__ = ["Classes", "Labeler", "Ranked", "zero_shot"]
