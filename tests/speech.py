"""Speech to test with, made by espeak-ng from the wheel `espeakng-loader`: the same text gives the same samples."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from importlib.metadata import distribution
from math import gcd
from pathlib import Path

import numpy as np
import numpy.typing as npt

SENTENCE = "Good morning. The quick brown fox jumps over the lazy dog, and nobody in the village was surprised."

_RETRIEVAL = 1  # espeak_AUDIO_OUTPUT: samples go to the callback, no device is opened
_UTF8 = 1  # espeakCHARS_UTF8
_CHUNK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def speak(text: str = SENTENCE, *, sample_rate: int = 16_000) -> npt.NDArray[np.float32]:
    """`text` read aloud in English: float32 (N,) mono in [-1, 1].

    Runs in a process of its own: the library holds global state and cannot be unloaded.
    """
    command = [sys.executable, str(Path(__file__).resolve()), text]
    spoken = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    native_rate = int.from_bytes(spoken[:4], "little")
    return _resample(np.frombuffer(spoken[4:], dtype="<i2").astype(np.float32) / 32768, native_rate, sample_rate)


def write_wav(path: Path, samples: npt.NDArray[np.float32], *, sample_rate: int) -> None:
    """Write mono 16-bit PCM."""
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def _synthesise(text: str) -> tuple[int, bytes]:
    """Sample rate and 16-bit little-endian samples, by the C API of `speak_lib.h`."""
    folder = Path(str(distribution("espeakng-loader").locate_file("espeakng_loader")))
    library = ctypes.CDLL(str(folder / "libespeak-ng.so"))
    sample_rate = library.espeak_Initialize(_RETRIEVAL, 0, str(folder / "espeak-ng-data").encode(), 0)
    if sample_rate <= 0:
        raise RuntimeError(f"espeak_Initialize answered {sample_rate}")
    heard: list[bytes] = []

    @_CHUNK
    def keep(samples: object, count: int, _events: object) -> int:
        if count > 0:
            heard.append(ctypes.string_at(samples, 2 * count))  # type: ignore[arg-type]
        return 0

    library.espeak_SetSynthCallback(keep)
    if library.espeak_SetVoiceByName(b"en") != 0:
        raise RuntimeError("espeak-ng has no voice 'en'")
    encoded = text.encode() + b"\0"
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
        ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    if library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None) != 0:
        raise RuntimeError(f"espeak-ng cannot say {text!r}")
    library.espeak_Synchronize()
    return sample_rate, b"".join(heard)


def _resample(samples: npt.NDArray[np.float32], rate: int, wanted: int) -> npt.NDArray[np.float32]:
    if rate == wanted:
        return samples
    import torch
    import torchaudio

    common = gcd(rate, wanted)
    resampled = torchaudio.functional.resample(torch.from_numpy(samples), rate // common, wanted // common)
    return np.asarray(resampled.numpy(), dtype=np.float32)


if __name__ == "__main__":
    _rate, _samples = _synthesise(sys.argv[1])
    sys.stdout.buffer.write(_rate.to_bytes(4, "little") + _samples)
