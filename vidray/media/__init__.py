"""The values that pass between the rooms: videos, clips, samplings and samples."""

from vidray.media.values import *  # noqa: F403
