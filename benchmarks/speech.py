"""What voice activity and speech to text cost, in CPU-seconds of one core.

Voice activity looks at every second of audio, speech to text at what is speech: both are held against the length of the
audio that they are given. Run it alone: `benchmarks/speech.py RECORDING.wav ...`, mono WAV at 16 kHz. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import wave
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

from vidray.extractors.speech.moonshine import MoonshineText
from vidray.media import AudioSamples, Clip, ClipInput
from vidray.models.silero import SAMPLE_RATE, speech_network
from vidray.models.speech_spans import segments_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", metavar="RECORDING.wav")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    samples = np.concatenate([read(path) for path in arguments.recordings])
    length_s = len(samples) / SAMPLE_RATE
    clip = Clip(clip_id="c", video_id="v", uri="u", clip_index=0, start_s=0.0, end_s=length_s)
    items = [ClipInput(clip=clip, values={"audio": AudioSamples(samples=samples, sample_rate=SAMPLE_RATE)})]
    speech, extract = speech_network(), MoonshineText().load("cpu")
    print(f"{' '.join(sys.argv)}\nonnxruntime {version('onnxruntime')}, {length_s:.1f} s of audio")
    found = {
        "audio_s": round(length_s, 3),
        "voice_activity_x": round(length_s / fastest(lambda: segments_of(items, speech), arguments.repeat), 1),
        "moonshine_x": round(length_s / fastest(lambda: extract(items), arguments.repeat), 1),
    }
    print(json.dumps(found))


def read(path: str) -> np.ndarray:
    with wave.open(path) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, SAMPLE_RATE):
            sys.exit(f"{path} must be mono, 16 bits, {SAMPLE_RATE} Hz")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def fastest(work: Callable[[], object], repeat: int) -> float:
    """CPU-seconds of the fastest run."""
    spent = []
    for _ in range(repeat):
        before = time.process_time()
        work()
        spent.append(time.process_time() - before)
    return min(spent)


if __name__ == "__main__":
    main()
