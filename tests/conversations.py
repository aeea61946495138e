"""Conversations with known turns, joined from real clips of one voice each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from spoken import ASTERISK, RATE, Floats, librivox, read_wav, silence

SHORTEST_S, LONGEST_S = 2.0, 9.0
CLIPS = 14

Truth = list[tuple[float, float, str]]
"""Start and end in seconds, and whose voice it is."""


@cache
def voice(name: str) -> tuple[Floats, ...]:
    """Clips of one voice at 16 kHz: `librivox`, or a language of Asterisk's prompts."""
    import torch
    from torchaudio.functional import resample

    if name == "librivox":
        return tuple(samples for samples, _ in librivox())
    files = sorted(ASTERISK.glob(f"{name}_*_*/*.wav"))
    found: list[Floats] = []
    for place in np.random.default_rng(0).permutation(len(files)):
        samples, rate = read_wav(files[place])
        if SHORTEST_S <= len(samples) / rate <= LONGEST_S:
            found.append(resample(torch.from_numpy(samples), rate, RATE).numpy())
        if len(found) == CLIPS:
            break
    return tuple(found)


def conversation(voices: Sequence[str], *, turns: int = 14, seed: int = 0) -> tuple[Floats, Truth]:
    """Turns of clips with pauses of 0.1 to 1 s; no voice speaks twice in a row where there are others."""
    generator = np.random.default_rng(seed)
    parts, truth, at_s = [silence(0.5)], [], 0.5
    used = dict.fromkeys(voices, 0)
    last = None
    for _ in range(turns):
        others = [name for name in voices if name != last] or list(voices)
        last = others[int(generator.integers(len(others)))]
        samples = voice(last)[used[last] % len(voice(last))]
        used[last] += 1
        pause_s = float(generator.uniform(0.1, 1.0))
        parts += [samples, silence(pause_s)]
        truth.append((at_s, at_s + len(samples) / RATE, last))
        at_s += len(samples) / RATE + pause_s
    return np.concatenate(parts), truth
