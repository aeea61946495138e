"""From the columns of a feature table to labels; knows no store, no Ray and no media."""

from vidray.labelers.protocol import Labeler, Ranked

__all__ = ["Labeler", "Ranked"]
