"""What each extractor of audio, of what is said or of frames costs: CPU-seconds an hour of media, and peak memory.

    benchmarks/costs.py RECORDING.wav ... [--whisper FOLDER] [--only NAME,...]
    benchmarks/costs.py --video FILE [--only NAME,...]

Each extractor runs in a process of its own, on one thread and on the recordings, or the video, as one clip. Loading and
decoding are left out of the CPU-seconds and are in the memory. Steps are measured by themselves.

Recordings are mono WAV at 16 kHz. An hour is one in which somebody speaks all the time: speech to text and voices cost
less where there are pauses. Extractors of texts are given what moonshine hears in the recordings, and `speakers` what
`voices` does, over and over until it is an hour; `spoken` five minutes of it.

Of a video two frames a second are taken. Steps have frames of 224x224, spoiled so that there is something to do:
`denoise` with noise of sigma 25, `light` at gamma 2.5. `tracks` is given what `ssd` sees at five frames a second, and
`object_events` what `tracks` makes of that, over and over until it is an hour. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import time
import wave
from dataclasses import replace
from typing import Any

import numpy as np

RATE = 16_000
HOUR_S = 3600
AUDIO = ("voice_activity", "moonshine", "whisper", "voices", "speech_quality", "yamnet", "audio_events")
STEPS = ("denoise", "loudness")
TABLES = ("sentiment", "text_embedding", "summary", "spoken", "speakers")
FRAMES = ("ssd", "person_mask")
FRAME_STEPS = ("denoise", "light", "white_balance", "sharpen", "noise", "enlarge")
OBJECTS = ("tracks", "object_events")
OF_AUDIO = (*AUDIO, *(f"audio={step}" for step in STEPS), *TABLES)
OF_FRAMES = (*FRAMES, *(f"frames={step}" for step in FRAME_STEPS), *OBJECTS)
TIMES = ("start_s", "end_s", "time_s")
SEEN = "ssd?fps=5"
SIDE = 224
GAMMA = 2.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", metavar="RECORDING.wav")
    parser.add_argument("--video", metavar="FILE", help="measures what frames cost, not recordings")
    parser.add_argument("--whisper", metavar="FOLDER", help="a model in CTranslate2's format")
    parser.add_argument("--only", metavar="NAME,...", help="of the extractors")
    parser.add_argument("--cost", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--row", metavar="NAME", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if (arguments.video is None) == (not arguments.recordings):
        parser.error("give recordings, or a --video")
    if arguments.row is not None:
        print(json.dumps(row_of(arguments.row, arguments), default=np.ndarray.tolist))
        return
    if arguments.cost is not None:
        print(json.dumps(measured(arguments.cost, arguments)))
        return
    known = OF_AUDIO if arguments.video is None else OF_FRAMES
    wanted = arguments.only.split(",") if arguments.only else known
    found: dict[str, Any] = {}
    for name in [one for one in known if one in wanted and (one != "whisper" or arguments.whisper)]:
        found[name] = by_a_child("--cost", name)
        print(f"{name:16} {found[name]['cpu_s_an_hour']:8.1f} CPU-s an hour {found[name]['peak_mb']:6} MB", flush=True)
    print(json.dumps({"media_s": round(length_of(arguments), 1), "extractors": found}))


def by_a_child(asked: str, name: str) -> Any:
    """What a process of its own says: its memory is that of one extractor alone."""
    command = [sys.executable, __file__, *sys.argv[1:], asked, name]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def sound_of(arguments: argparse.Namespace) -> np.ndarray:
    return np.concatenate([read(path) for path in arguments.recordings])


def measured(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """The figures of one extractor, or of one step."""
    import torch

    torch.set_num_threads(1)
    if arguments.video is None:
        work, given, length_s = prepared(name, sound_of(arguments), arguments.whisper)
    else:
        work, given, length_s = prepared_frames(name, arguments)
    before = time.process_time()
    work(given)
    cpu_s = time.process_time() - before
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"cpu_s_an_hour": round(cpu_s / length_s * HOUR_S, 1), "peak_mb": peak_mb}


def prepared(name: str, samples: np.ndarray, whisper: str | None) -> tuple[Any, Any, float]:
    """What is measured, what it is given, and of how many seconds that is."""
    from vidray.extractors import resolve
    from vidray.media import Audio, AudioSamples
    from vidray.steps import steps_of
    from vidray.steps.protocol import AUDIO_RATE
    from vidray.steps.resampling import resampled

    length_s = len(samples) / RATE
    if name.startswith("audio="):
        (step,) = steps_of("audio", name.removeprefix("audio="))
        audio = AudioSamples(samples=samples, sample_rate=RATE)
        return step.load(), resampled(audio, Audio(AUDIO_RATE).request(0.0, length_s)), length_s
    extractor = resolve(f"whisper?size={whisper}&compute_type=int8" if name == "whisper" else name)
    extract: Any = extractor.load("cpu")
    if name in AUDIO:
        return extract, [item_of(extractor, samples)], length_s
    row = by_a_child("--row", "voices" if name == "speakers" else "moonshine")
    long_s = HOUR_S / 12 if name == "spoken" else HOUR_S
    return extract, table_items(extractor, row, length_s, long_s), long_s


def prepared_frames(name: str, arguments: argparse.Namespace) -> tuple[Any, Any, float]:
    """As `prepared`, of frames and what is seen in them."""
    from vidray.extractors import resolve
    from vidray.media import FrameRate, Resize
    from vidray.steps import steps_of
    from vidray.steps.improved import through

    length_s = length_of(arguments)
    if name.startswith("frames="):
        step = steps_of("frames", name.removeprefix("frames="))
        frames = frames_of(arguments.video, FrameRate(fps=2.0, resize=Resize(size=(SIDE, SIDE)))).frames
        spoiled = {"frames=denoise": noisy, "frames=light": dark}.get(name, list)(frames)
        through(step, spoiled[0])
        return lambda frames: [through(step, frame) for frame in frames], spoiled, length_s
    extractor = resolve(name)
    extract: Any = extractor.load("cpu")
    if name in FRAMES:
        return extract, [seen_of(extractor, arguments.video)], length_s
    items = table_items(resolve("tracks"), by_a_child("--row", SEEN), length_s, HOUR_S)
    if name == "object_events":
        columns, _ = resolve("tracks").load("cpu")(items)
        items = [
            replace(one, values={"tracks": {"tracks": row}}) for one, row in zip(items, columns["tracks"], strict=True)
        ]
    return extract, items, HOUR_S


def noisy(frames: np.ndarray) -> list[np.ndarray]:
    from vidray.steps import steps_of
    from vidray.steps.improved import through

    return [through(steps_of("frames", "noise:sigma=25"), frame) for frame in frames]


def dark(frames: np.ndarray) -> list[np.ndarray]:
    return [np.round(255 * (frame / 255) ** GAMMA).astype(np.uint8) for frame in frames]


def frames_of(video: str, sampling: Any) -> Any:
    """What a sampling gives of a video as one clip."""
    from vidray.sandbox import Sandbox

    with contextlib.closing(Sandbox()) as sandbox:
        info = sandbox.probe(video)
        request = sampling.request(0.0, info.duration_s)
        size = info.height or 0, info.width or 0
        raw = sandbox.read(video, [request], 0.0, info.duration_s, size).samples[request]
        return sampling.collect(raw, 0.0, info.duration_s)


def seen_of(extractor: Any, video: str) -> Any:
    """The frames of a video as one clip, as the extractor samples them."""
    from vidray.extractors.inputs import samplings_of
    from vidray.media import Clip, ClipInput

    ((name, sampling),) = samplings_of(extractor).items()
    clip = Clip(clip_id="c", video_id="v", uri=video, clip_index=0, start_s=0.0, end_s=1.0)
    return ClipInput(clip=clip, values={name: frames_of(video, sampling)})


def length_of(arguments: argparse.Namespace) -> float:
    """Seconds of the recordings, or the video."""
    from vidray.sandbox import Sandbox

    if arguments.video is None:
        return len(sound_of(arguments)) / RATE
    with contextlib.closing(Sandbox()) as sandbox:
        return sandbox.probe(arguments.video).duration_s


def row_of(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What an extractor says of the recordings, or the video, as one clip."""
    from vidray.extractors import resolve

    extractor = resolve(name)
    is_heard = arguments.video is None
    item = item_of(extractor, sound_of(arguments)) if is_heard else seen_of(extractor, arguments.video)
    answer: Any = extractor.load("cpu")([item])
    columns = answer[0] if isinstance(answer, tuple) else answer
    return {column: plain(values[0]) for column, values in columns.items()}


def plain(value: Any) -> Any:
    return value.as_py() if hasattr(value, "as_py") else value


def table_items(extractor: Any, row: dict[str, Any], length_s: float, long_s: float) -> list[Any]:
    """The row of one clip again and again, each time later, as the input of an extractor of tables."""
    from vidray.media import Clip, ClipInput

    (name,) = extractor.inputs
    items = []
    for number in range(round(long_s / length_s)):
        start_s = number * length_s
        clip = Clip(
            clip_id=str(number), video_id="v", uri="u", clip_index=number, start_s=start_s, end_s=start_s + length_s
        )
        items.append(ClipInput(clip=clip, values={name: {key: later(value, start_s) for key, value in row.items()}}))
    return items


def later(value: Any, by_s: float) -> Any:
    """A column's value with its times moved."""
    if not isinstance(value, list):
        return value
    return [{**one, **{key: one[key] + by_s for key in TIMES if key in one}} for one in value]


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
