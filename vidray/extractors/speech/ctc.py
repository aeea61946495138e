"""Speech to text by the CTC bundles of `torchaudio.pipelines`: the likeliest letter of each step, and its alignment.

They are the bundles whose embeddings are `torchaudio/<bundle>`, with the layer that transcribes. There is no language
model behind them, so that words are written as they sound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors.audio.torchaudio import bundle_of, downloaded, url_of
from vidray.extractors.protocol import ExtractFn, ModelInfo
from vidray.extractors.speech.transcribing import INPUTS, SCHEMA, Word, Written, record_of, transcriber
from vidray.media import Audio
from vidray.models import silero
from vidray.models.hub import settle_hub_file
from vidray.models.weights import fill, load_state_dict, sha256_of

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "ctc/"
BLANK = 0
"""Which label says that there is nothing new: the first of `get_labels`."""
SPACE = "|"
"""The label that stands between words."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class CtcText:
    """What is said in a clip, in small letters and without punctuation, with times of words.

    A word's times are those of its first and last letter in torchaudio's forced alignment; its score is the mean
    probability of its letters there.

    Attributes:
        bundle: A name of `bundle_names()`.
        weights: Path or URL of a state dict of the bundle's model, None for the bundle's own download.
        memory_bytes: What a worker reserves: enough for the large bundles.
    """

    version: ClassVar[str] = "2"
    brings: ClassVar[tuple[str, ...]] = ("transcript",)
    inputs: ClassVar[Mapping[str, Audio]] = INPUTS
    schema: ClassVar[pa.Schema] = SCHEMA

    bundle: str = "WAV2VEC2_ASR_BASE_960H"
    weights: str | None = None
    memory_bytes: int = 3 << 30

    def __post_init__(self) -> None:
        if self.bundle not in bundle_names():
            raise UsageError(f"torchaudio has no CTC bundle '{self.bundle}'; there are {', '.join(bundle_names())}")

    @property
    def name(self) -> str:
        """The table's name."""
        return PREFIX + self.bundle

    @property
    def weights_record(self) -> Mapping[str, Any]:
        """Where the weights come from, and their sha256 where they are a file."""
        sha256 = None if self.weights is None else sha256_of(self.weights)
        own = {"source": self.weights or url_of(self.bundle), "sha256": sha256}
        return record_of(silero.weights_record(), own)

    def settle(self) -> None:
        """See that the weights are here, or download them. Raises WeightsError."""
        if self.weights is None:
            settle_hub_file(url_of(self.bundle), self.name)

    def load(self, device: str) -> ExtractFn:
        """Read or download the weights and build the network. Raises MissingExtraError or WeightsError."""
        import torch

        with torch.device("meta"):  # without memory for weights that the file's replace
            network = build_network(self.bundle)
        state = downloaded(self.bundle, self.name) if self.weights is None else load_state_dict(self.weights)
        fill(network, state, f"{self.name} from {self.weights or url_of(self.bundle)}")
        network = network.eval().to(device)
        described = bundle_of(self.bundle)
        labels, language = described.get_labels(), language_of(self.bundle)

        def write(sounds: Sequence[Floats]) -> list[Written]:
            # alone each: a network without a mask would take another's padding for silence of its own
            found = []
            for samples in sounds:
                likelihoods = log_probabilities(network, samples, normalise=bool(described._normalize_waveform))
                found.append(written(likelihoods, labels, len(samples) / silero.SAMPLE_RATE, language))
            return found

        return transcriber(write)


def build_network(bundle: str) -> nn.Module:
    """The bundle's `torchaudio.models.Wav2Vec2Model` with random weights, and the layer that transcribes."""
    from torchaudio.models import wav2vec2_model

    network: nn.Module = wav2vec2_model(**bundle_of(bundle)._params)
    return network


def log_probabilities(network: nn.Module, samples: Floats, *, normalise: bool) -> Tensor:
    """The log probability of each label at each step, float32 (1, T, labels), on the CPU."""
    import torch
    from torch.nn.functional import layer_norm, log_softmax

    heard = torch.from_numpy(samples.copy())
    if normalise:
        heard = layer_norm(heard, heard.shape)
    with torch.inference_mode():
        logits, _ = network(heard[None].to(next(network.parameters()).device))
        return log_softmax(logits.float(), dim=-1).cpu()


def written(likelihoods: Tensor, labels: Sequence[str], length_s: float, language: str) -> Written:
    """The likeliest letters of a sound of some length, as words with times."""
    import torch
    from torchaudio.functional import forced_align, merge_tokens

    steps = torch.unique_consecutive(likelihoods[0].argmax(-1))
    letters = steps[steps != BLANK]
    if not len(letters):
        return Written(text="", language=language, language_score=1.0, words=())
    path, scores = forced_align(likelihoods, letters[None], blank=BLANK)
    spans = merge_tokens(path[0], scores[0], blank=BLANK)
    words = tuple(_words(spans, labels, length_s / likelihoods.shape[1]))
    return Written(
        text=" ".join(word.word for word in words),
        language=language,
        language_score=1.0,
        avg_logprob=float(np.mean([span.score for span in spans])),
        words=words,
    )


def _words(spans: Sequence[Any], labels: Sequence[str], step_s: float) -> Iterator[Word]:
    held: list[Any] = []
    for span in [*spans, None]:
        if span is not None and labels[span.token] != SPACE:
            held.append(span)
        elif held:
            yield Word(
                word="".join(labels[letter.token] for letter in held).lower(),
                start_s=held[0].start * step_s,
                end_s=held[-1].end * step_s,
                score=float(np.mean([np.exp(letter.score) for letter in held])),
            )
            held = []


def language_of(bundle: str) -> str:
    """The language that a bundle was tuned to: VoxPopuli's names end with it, the others' is English."""
    tail = bundle.rpartition("_")[2].lower()
    return tail if bundle.startswith("VOXPOPULI") else "en"


def bundle_names() -> list[str]:
    """The names that `CtcText` takes."""
    from torchaudio import pipelines

    return [name for name in pipelines.__all__ if type(getattr(pipelines, name)) is pipelines.Wav2Vec2ASRBundle]


def find(name: str) -> tuple[type[CtcText], dict[str, Any]] | None:
    """The class of `ctc/<bundle>`."""
    family, _, bundle = name.partition("/")
    return (CtcText, {"bundle": bundle}) if family == "ctc" and bundle in bundle_names() else None


def names() -> list[str]:
    """All names that `find` knows."""
    return [PREFIX + name for name in bundle_names()]


def infos() -> list[ModelInfo]:
    """What `vidray models` says of these extractors."""
    import torch

    cache = Path(torch.hub.get_dir(), "checkpoints")
    return [
        ModelInfo(
            name=PREFIX + name,
            kind="audio",
            dim=None,
            inputs=f"mono audio at 16 kHz, speech in {language_of(name)}",
            weights=f"{name}, {'downloaded' if (cache / Path(url_of(name)).name).is_file() else 'to be downloaded'}",
            licence="CC-BY-NC-4.0" if name.startswith("VOXPOPULI") else "MIT",
            available=silero.is_installed(),
        )
        for name in bundle_names()
    ]
