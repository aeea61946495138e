"""The wav2vec2 family of `torchaudio.pipelines`: wav2vec 2.0, HuBERT, WavLM, VoxPopuli and XLS-R bundles.

torchaudio is imported where a bundle is looked at, since that takes seconds.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from vidray.errors import UsageError, WeightsError
from vidray.extractors.columns import embedding_schema
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import Audio, AudioSamples, ClipInput
from vidray.models.batching import check_precision, dtype_of
from vidray.models.hub import settle_hub_file
from vidray.models.weights import file_record, fill, load_state_dict

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "torchaudio/"
HUB = "https://download.pytorch.org/torchaudio/models/"

FORWARD_S = 20.0
"""Seconds of audio in one forward pass, which bounds its memory: the first convolutions alone take some 20 MB a second,
attention grows as the square. These models were trained on at most 16 s at a time."""


@dataclass(frozen=True, kw_only=True)
class TorchaudioBundle:
    """How a clip sounds to a speech model: the mean over time of its last transformer layer's features at length 1.

    These are as the model's `extract_features` gives them: without the final layer norm, which the larger models have.
    At length 1, since without that norm single frames may be many times as long as the others.

    A waveform is normalised where the bundle says so, each clip by itself and as a whole. A clip longer than 20 s is
    heard in equal chunks of at most 20 s, which do not see each other; the mean is over all of their frames.

    Attributes:
        bundle: A name of `bundle_names()`.
        precision: "float32" or "bfloat16", of the network.
        weights: Path or URL of a state dict of the bundle's model, None for the bundle's own download.
    """

    version: ClassVar[str] = "2"

    bundle: str = "WAV2VEC2_BASE"
    precision: str = "float32"
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.bundle not in bundle_names():
            raise UsageError(f"torchaudio has no speech bundle '{self.bundle}'; there are {', '.join(bundle_names())}")
        check_precision(self.precision)

    @property
    def name(self) -> str:
        """The table's name."""
        return PREFIX + self.bundle

    @property
    def inputs(self) -> Mapping[str, Audio]:
        """Audio as the network wants it."""
        return {"audio": Audio(sample_rate=int(bundle_of(self.bundle).sample_rate))}

    @property
    def schema(self) -> pa.Schema:
        """The columns that it adds."""
        return embedding_schema(_dim(self.bundle), labels=False)

    @property
    def weights_record(self) -> Mapping[str, str | None]:
        """Where the weights come from, and their sha256 where they are a file."""
        return {"source": url_of(self.bundle), "sha256": None} if self.weights is None else file_record(self.weights)

    def settle(self) -> None:
        """See that the weights are here, or download them. Raises WeightsError."""
        if self.weights is None:
            settle_hub_file(url_of(self.bundle), self.name)

    def load(self, device: str) -> ExtractFn:
        """Read or download the weights and build the network. Raises WeightsError."""
        import torch

        with torch.device("meta"):  # without memory for weights that the file's replace
            network = build_network(self.bundle)
        state = downloaded(self.bundle, self.name) if self.weights is None else load_state_dict(self.weights)
        encoder = {name: tensor for name, tensor in state.items() if not name.startswith("aux.")}
        fill(network, encoder, f"{self.name} from {self.weights or url_of(self.bundle)}")
        network = self._in_precision(network.eval(), device)
        normalise = bool(bundle_of(self.bundle)._normalize_waveform)
        shortest = _receptive_field(self.bundle)
        longest = int(FORWARD_S * self.inputs["audio"].sample_rate)

        def extract(items: Sequence[ClipInput]) -> Answer:
            clips: list[AudioSamples] = [item["audio"] for item in items]
            return {
                "embedding": _embed(network, clips, normalise=normalise, shortest=shortest, longest=longest),
            }

        return extract

    def _in_precision(self, network: nn.Module, device: str) -> nn.Module:
        """The network as it is to run, seen to compute what it should on a second of noise."""
        import torch

        from vidray.models.precision import in_precision

        rate = self.inputs["audio"].sample_rate
        second = 0.1 * torch.randn(1, rate, generator=torch.Generator().manual_seed(0))
        is_twice = self.precision != "float32" and device.startswith("cpu")

        def build(precision: str) -> nn.Module:
            chosen = copy.deepcopy(network) if is_twice else network
            return chosen.to(device=device, dtype=dtype_of(precision))

        return in_precision(
            build,
            lambda chosen: _mean_features(chosen, second, 1),
            precision=self.precision,
            device=device,
            what=self.name,
        )


def find(name: str) -> tuple[type[TorchaudioBundle], dict[str, str]] | None:
    """The class of `torchaudio/<bundle>`."""
    family, _, bundle = name.partition("/")
    return (TorchaudioBundle, {"bundle": bundle}) if family == "torchaudio" and bundle in bundle_names() else None


def names() -> list[str]:
    """All names that `find` knows."""
    return [f"torchaudio/{bundle}" for bundle in bundle_names()]


def bundle_names() -> list[str]:
    """The names that `TorchaudioBundle` takes: features of speech, also where the model was tuned to transcribe."""
    from torchaudio import pipelines

    kinds = (pipelines.Wav2Vec2Bundle, pipelines.Wav2Vec2ASRBundle)
    return [name for name in pipelines.__all__ if type(getattr(pipelines, name)) in kinds]


def infos() -> list[ModelInfo]:
    """What `vidray models` says of these extractors."""
    import torch

    cache = Path(torch.hub.get_dir(), "checkpoints")
    return [
        ModelInfo(
            name=PREFIX + name,
            kind="audio",
            dim=_dim(name),
            inputs=f"mono audio at {int(bundle_of(name).sample_rate) // 1000} kHz",
            weights=f"{name}, {'downloaded' if (cache / Path(url_of(name)).name).is_file() else 'to be downloaded'}",
            licence="CC-BY-NC-4.0" if name.startswith("VOXPOPULI") else "MIT",
            available=True,
        )
        for name in bundle_names()
    ]


def build_network(bundle: str) -> nn.Module:
    """The bundle's `torchaudio.models.Wav2Vec2Model` with random weights, without the layer that transcribes."""
    from torchaudio.models import wav2vec2_model, wavlm_model

    described = bundle_of(bundle)
    build = {"Wav2Vec2": wav2vec2_model, "WavLM": wavlm_model}[described._model_type]
    network: nn.Module = build(**{**described._params, "aux_num_out": None})
    return network


def _embed(network: nn.Module, clips: Sequence[AudioSamples], *, normalise: bool, shortest: int, longest: int) -> Any:
    """Mean features float32 (N, dim). Clips of one length share batches, whose sizes depend on the lengths alone."""
    import torch

    by_length: dict[int, list[int]] = {}
    for place, clip in enumerate(clips):
        by_length.setdefault(clip.samples.size, []).append(place)
    means: list[Any] = [None] * len(clips)
    with torch.inference_mode():
        for places in by_length.values():
            alike = [_chunks(clips[p], normalise=normalise, shortest=shortest, longest=longest) for p in places]
            chunks = torch.cat(alike)
            features = _mean_features(network, chunks, max(1, longest // chunks.shape[1]))
            for place, parts in zip(places, features.chunk(len(places)), strict=True):
                means[place] = parts.mean(0)
        return torch.stack(means).numpy()


def _chunks(clip: AudioSamples, *, normalise: bool, shortest: int, longest: int) -> Tensor:
    """A clip as equal chunks, float32 (C, samples); the last is filled up with silence, by less than C samples."""
    import torch
    from torch.nn.functional import layer_norm, pad

    samples = torch.from_numpy(clip.samples.copy())
    if normalise:
        samples = layer_norm(samples, samples.shape)
    count = -(-samples.numel() // longest)
    size = max(shortest, -(-samples.numel() // count))
    return pad(samples, (0, count * size - samples.numel())).reshape(count, size)


def _mean_features(network: nn.Module, chunks: Tensor, batch_size: int) -> Tensor:
    """Mean over time of the last layer's features at length 1, float32 (C, dim), on the CPU."""
    import torch
    from torch.nn.functional import normalize

    weight = next(network.parameters())
    means = []
    for batch in torch.split(chunks, batch_size):
        layers, _ = network.extract_features(batch.to(device=weight.device, dtype=weight.dtype))  # type: ignore[operator]
        means.append(normalize(layers[-1].float(), dim=2).mean(1).cpu())
    return torch.cat(means)


def downloaded(bundle: str, name: str) -> dict[str, Tensor]:
    """The weights of a bundle from its hub, for the extractor of a name. Raises WeightsError."""
    try:
        state: dict[str, Tensor] = bundle_of(bundle)._get_state_dict({"weights_only": True, "progress": False})
    except (OSError, HTTPException) as e:
        raise WeightsError(
            f"the weights of {name} cannot be downloaded from {url_of(bundle)} ({e}); give a file: {name}@FILE"
        ) from e
    return state


def url_of(bundle: str) -> str:
    """Where the weights of a bundle are downloaded from."""
    return HUB + str(bundle_of(bundle)._path)


def bundle_of(name: str) -> Any:
    """The bundle of a name of `torchaudio.pipelines`."""
    from torchaudio import pipelines

    return getattr(pipelines, name)


def _dim(bundle: str) -> int:
    return int(bundle_of(bundle)._params["encoder_embed_dim"])


def _receptive_field(bundle: str) -> int:
    """Samples that one feature frame needs: 400 for all known bundles."""
    field = 1
    for _, kernel, stride in reversed(bundle_of(bundle)._params["extractor_conv_layer_config"]):
        field = (field - 1) * stride + kernel
    return field
