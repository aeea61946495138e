"""What voice activity and speech to text cost, in CPU-seconds of one core.

    benchmarks/speech.py RECORDING.wav ... [--whisper FOLDER]

Voice activity looks at every second of audio, speech to text at what is speech: both are held against the length of the
audio that they are given. With `--whisper FOLDER`, a model in CTranslate2's format, the extractor `whisper`, voice
activity included, is held against faster-whisper called directly on the same segments, in turns, and the ratio is the
median of the rounds: other work on the machine changes both alike. It is called in two ways: one segment after another
(`WhisperModel.transcribe`), and all at once in the language of the first (`BatchedInferencePipeline`). Recordings are
mono WAV at 16 kHz. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import wave
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from vidray.extractors.speech.moonshine import MoonshineText
from vidray.extractors.speech.transcribing import sound_of
from vidray.extractors.speech.whisper import Whisper
from vidray.media import AudioSamples, Clip, ClipInput
from vidray.models.silero import SAMPLE_RATE, speech_network
from vidray.models.speech_spans import segments_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", metavar="RECORDING.wav")
    parser.add_argument("--whisper", metavar="FOLDER")
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
    if arguments.whisper is not None:
        found |= whisper_figures(items, arguments.whisper, arguments.repeat)
    print(json.dumps(found))


def whisper_figures(items: list[ClipInput], folder: str, repeat: int) -> dict[str, float]:
    """The CPU-seconds of the extractor, and how many times those of the library on the same segments they are."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    extract = Whisper(size=folder, compute_type="int8").load("cpu")
    network = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=1)
    pipeline = BatchedInferencePipeline(network)
    same: dict[str, Any] = {"temperature": 0.0, "without_timestamps": True, "word_timestamps": True}
    audio = items[0]["audio"]
    heard = segments_of(items, speech_network())
    sounds = [sound_of(audio, segment)[0] for clip in heard for segment in clip.segments]
    edges = np.cumsum([0, *map(len, sounds)]) / SAMPLE_RATE
    spans = [{"start": start_s, "end": end_s} for start_s, end_s in pairwise(edges.tolist())]

    def one_by_one() -> None:
        for samples in sounds:
            list(network.transcribe(samples, condition_on_previous_text=False, **same)[0])

    def at_once() -> None:
        list(pipeline.transcribe(np.concatenate(sounds), clip_timestamps=spans, vad_filter=False, **same)[0])

    rounds = [tuple(cpu_s(side) for side in (lambda: extract(items), one_by_one, at_once)) for _ in range(repeat)]
    own_s, one_by_one_s, at_once_s = (round(median(side), 2) for side in zip(*rounds, strict=True))
    return {
        "segments": len(sounds),
        "whisper_s": own_s,
        "one_by_one_s": one_by_one_s,
        "at_once_s": at_once_s,
        "whisper_over_one_by_one": round(median(own / other for own, other, _ in rounds), 3),
        "whisper_over_at_once": round(median(own / other for own, _, other in rounds), 3),
    }


def read(path: str) -> np.ndarray:
    with wave.open(path) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, SAMPLE_RATE):
            sys.exit(f"{path} must be mono, 16 bits, {SAMPLE_RATE} Hz")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def fastest(work: Callable[[], object], repeat: int) -> float:
    """CPU-seconds of the fastest run."""
    return min(cpu_s(work) for _ in range(repeat))


def cpu_s(work: Callable[[], object]) -> float:
    """CPU-seconds of a run, over all threads."""
    before = time.process_time()
    work()
    return time.process_time() - before


if __name__ == "__main__":
    main()
