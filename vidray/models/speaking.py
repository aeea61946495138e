"""Texts spoken by hibari-tts, an English voice inside its wheel, or by the program espeak-ng, in 100 languages."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from vidray.errors import UsageError, one_line
from vidray.models.weights import packaged_file, sha256_of

PACKAGE = "hibari-tts"
NETWORK = "hibari/assets/hibari.onnx"
RATE = 24_000
"""Samples a second of all speech; hibari's own."""
PROGRAM = "espeak-ng"
LIMIT_S = 60.0
"""espeak-ng speaks a thousand times as fast as people do: one that takes so long hangs."""
WAV_HEADER_BYTES = 44
MOST_LETTERS = 2_000
"""Of a longer text the whole sentences that fit are spoken, about two minutes: a text may be a whole book."""

ENGINES = ("hibari", "espeak-ng")
"""In the order in which they are taken."""

Floats = npt.NDArray[np.float32]
Engine = Literal["hibari", "espeak-ng"]
REMEDY = "pip install 'vidray[spoken]' for hibari (English), or apt install espeak-ng"


def engine_of(wanted: str | None) -> Engine:
    """The engine of a name, or without one the first that is here.

    Raises:
        UsageError: There is no such engine, or it is not installed.
    """
    if wanted is not None and wanted not in ENGINES:
        raise UsageError(f"engine must be {' or '.join(ENGINES)}, got {wanted!r}")
    here = [name for name in ENGINES if _record(name) is not None]
    if not here or wanted not in (None, *here):
        raise UsageError(
            f"no speech can be made, as {wanted or 'no engine'} is {'not ' * bool(wanted)}installed: {REMEDY}"
        )
    return cast(Engine, wanted or here[0])


def engine_record(engine: Engine) -> dict[str, str | None]:
    """What `_spec.json` keeps of an engine: its version, and the hash of its network. Raises UsageError."""
    record = _record(engine_of(engine))
    assert record is not None
    return record


def _record(engine: str) -> dict[str, str | None] | None:
    """None for what is not installed."""
    if engine == PROGRAM:
        said = _program_version()
        return {"source": said, "sha256": None} if said is not None else None
    network = packaged_file(PACKAGE, NETWORK)
    try:
        source = f"{PACKAGE}=={version(PACKAGE)}"
    except PackageNotFoundError:
        return None
    return None if network is None else {"source": source, "sha256": sha256_of(str(network))}


def _program_version() -> str | None:
    """As in "espeak-ng 1.51"; None where there is no such program."""
    if (program := shutil.which(PROGRAM)) is None:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=LIMIT_S, check=False).stdout
    return " ".join([PROGRAM, *said.partition(":")[2].split()[:1]])


def speaker(engine: Engine, language: str = "en") -> Callable[[str], Floats]:
    """A function from a text to its speech, float32 (N,) in [-1, 1] at RATE; none where nothing of it can be said.

    The same text always gives the same samples.

    Args:
        engine: Which has to be installed.
        language: A code that espeak-ng knows, as in "de"; hibari speaks English alone.

    Raises:
        UsageError: The engine is not installed, or does not speak that language.
    """
    engine_of(engine)
    if engine == PROGRAM:
        return _by_program(language)
    if not is_english(language):
        raise UsageError(f"hibari speaks English alone, got language {language!r}; engine=espeak-ng knows others")
    from hibari import Hibari

    voice = Hibari()

    def speak(text: str) -> Floats:
        # what of it is noise is drawn anew each time without a seed
        return np.asarray(voice(cut(text), seed=0), np.float32)

    return speak


def is_english(language: str) -> bool:
    """Whether a code of a language is one of English, as "en" and "en-GB" are."""
    return language.lower().partition("-")[0].partition("_")[0] == "en"


def _by_program(language: str) -> Callable[[str], Floats]:
    # a voice may be named by the path of its file, too
    if not re.fullmatch(r"[A-Za-z0-9-]+", language):
        raise UsageError(f'language must be a code such as "en" or "pt-br", got {language!r}')
    command = [str(shutil.which(PROGRAM)), "--stdout", "--stdin", "-b", "1", "-v", language]

    def speak(text: str) -> Floats:
        # the text comes by a pipe: as an argument, one that begins with a dash would be an option
        run = subprocess.run(command, input=cut(text).encode(), capture_output=True, timeout=LIMIT_S, check=False)
        if run.returncode:
            said = one_line(run.stderr.decode(errors="replace"))
            raise UsageError(
                f"{PROGRAM} does not speak {language!r}: {said}; `{PROGRAM} --voices` lists what it speaks"
            )
        samples = np.frombuffer(run.stdout[WAV_HEADER_BYTES:], "<i2").astype(np.float32) / np.float32(32768)
        return _resampled(samples, int.from_bytes(run.stdout[24:28], "little")) if len(samples) else samples

    speak("")
    return speak


def _resampled(samples: Floats, sample_rate: int) -> Floats:
    import torch
    from torchaudio.functional import resample

    return np.asarray(resample(torch.from_numpy(samples), sample_rate, RATE).numpy(), np.float32)


def cut(text: str) -> str:
    """A text that is not too long, in one line: its first sentences, or words where a sentence is too long."""
    plain = " ".join(text.split())
    if len(plain) <= MOST_LETTERS:
        return plain
    held = plain[: MOST_LETTERS + 1]
    end = max(held.rfind(stop) + 1 for stop in (". ", "! ", "? "))
    return held[: end or max(held.rfind(" "), 0) or MOST_LETTERS].strip()
