"""What each extractor of audio costs: CPU-seconds an hour of media, and its process's peak memory.

    benchmarks/costs.py RECORDING.wav ... [--whisper FOLDER] [--only NAME,...]

Each extractor runs in a process of its own, on one thread and on the recordings as one clip. Loading is left out of the
CPU-seconds and is in the memory. An hour is one in which somebody speaks all the time: speech to text and voices cost
less where there are pauses. Recordings are mono WAV at 16 kHz. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import wave
from typing import Any

import numpy as np

RATE = 16_000
HOUR_S = 3600
AUDIO = ("voice_activity", "moonshine", "whisper", "voices", "speech_quality", "yamnet", "audio_events")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", metavar="RECORDING.wav")
    parser.add_argument("--whisper", metavar="FOLDER", help="a model in CTranslate2's format")
    parser.add_argument("--only", metavar="NAME,...", help="of the extractors")
    parser.add_argument("--child", metavar="NAME", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(measured(arguments.child, arguments)))
        return
    wanted = arguments.only.split(",") if arguments.only else AUDIO
    found: dict[str, Any] = {}
    for name in [one for one in AUDIO if one in wanted and (one != "whisper" or arguments.whisper)]:
        command = [sys.executable, __file__, *sys.argv[1:], "--child", name]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = json.loads(run.stdout.splitlines()[-1])
        print(f"{name:16} {found[name]['cpu_s_an_hour']:8.1f} CPU-s an hour {found[name]['peak_mb']:6} MB", flush=True)
    length_s = sum(len(read(path)) for path in arguments.recordings) / RATE
    print(json.dumps({"audio_s": round(length_s, 1), "extractors": found}))


def measured(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """The figures of one extractor."""
    import torch

    from vidray.extractors import resolve

    torch.set_num_threads(1)
    samples = np.concatenate([read(path) for path in arguments.recordings])
    extractor = resolve(f"whisper?size={arguments.whisper}&compute_type=int8" if name == "whisper" else name)
    extract: Any = extractor.load("cpu")
    items = [item_of(extractor, samples)]
    before = time.process_time()
    extract(items)
    cpu_s = time.process_time() - before
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"cpu_s_an_hour": round(cpu_s / (len(samples) / RATE) * HOUR_S, 1), "peak_mb": peak_mb}


def item_of(extractor: Any, samples: np.ndarray) -> Any:
    """The recordings as one clip, at the extractor's rate."""
    import torch
    from torchaudio.functional import resample

    from vidray.extractors.inputs import samplings_of
    from vidray.media import AudioSamples, Clip, ClipInput

    clip = Clip(clip_id="c", video_id="v", uri="u", clip_index=0, start_s=0.0, end_s=len(samples) / RATE)
    ((name, wanted),) = samplings_of(extractor).items()
    heard = resample(torch.from_numpy(samples.copy()), RATE, wanted.sample_rate).numpy()
    return ClipInput(clip=clip, values={name: AudioSamples(samples=heard, sample_rate=wanted.sample_rate)})


def read(path: str) -> np.ndarray:
    with wave.open(path) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, RATE):
            sys.exit(f"{path} must be mono, 16 bits, {RATE} Hz")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


if __name__ == "__main__":
    main()
