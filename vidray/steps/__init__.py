"""Steps, a file each: how decoded audio and frames are made better, or worse, before an extractor is given them."""

from vidray.steps.improved import improved
from vidray.steps.protocol import AudioFn, FrameFn, Step
from vidray.steps.registry import names, step_from, steps_of, text_of

__all__ = ["AudioFn", "FrameFn", "Step", "improved", "names", "step_from", "steps_of", "text_of"]
