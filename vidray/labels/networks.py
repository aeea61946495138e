"""The networks of trained heads, and their weights as safetensors.

Imports torch at once, so this module is imported where a network is built, not where a head is described.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from vidray.labels.examples import Ragged

HIDDEN = 64
WORD_DIM = 64
WORDS_DROPPED = 0.1
BATCH_CLIPS = 256
TEXT_UNITS: Mapping[str, Literal["gru", "lstm"]] = {"text": "gru", "text-lstm": "lstm"}
"""What reads the words, by the kind of a head on words."""


class LinearNetwork(nn.Module):
    """Softmax regression on the embedding of a clip."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.out = nn.Linear(dim, classes)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(N, 1, D) and a length of 1 each -> logits (N, classes)."""
        logits: Tensor = self.out(frames[:, 0])
        return logits


class GruNetwork(nn.Module):
    """A gated recurrent unit (https://arxiv.org/abs/1406.1078) over the embeddings of a clip's frames, in time.

    Sees their principal components and answers from its last state. A fifth of both is dropped in training.
    """

    mean: Tensor
    projection: Tensor

    def __init__(self, dim: int, components: int, classes: int, *, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("projection", torch.zeros(dim, components))
        self.dropout = nn.Dropout(0.2)
        self.gru = nn.GRU(components, hidden, batch_first=True)
        self.out = nn.Linear(hidden, classes)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(N, T, D), of which each clip has its length -> logits (N, classes)."""
        inputs = self.dropout((frames - self.mean) @ self.projection)
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        _, last = self.gru(packed)
        logits: Tensor = self.out(self.dropout(last[0]))
        return logits


class TextNetwork(nn.Module):
    """A gated recurrent unit, or a long short-term memory, over the words of a clip, each a vector that is learned.

    Answers from its last state and from the mean of all. A tenth of the words is taken for unknown in training, so that
    it learns what to make of those that it never saw, and a fifth of the vectors is dropped.
    """

    vocabulary: Tensor

    def __init__(self, words: int, classes: int, *, hidden: int = HIDDEN, unit: Literal["gru", "lstm"] = "gru") -> None:
        super().__init__()
        self.unit = unit
        self.register_buffer("vocabulary", torch.zeros(words, dtype=torch.int64))
        self.dropout = nn.Dropout(0.2)
        self.embedding = nn.Embedding(words + 1, WORD_DIM)
        sizes = (WORD_DIM, hidden)
        reader: nn.Module = nn.GRU(*sizes, batch_first=True) if unit == "gru" else nn.LSTM(*sizes, batch_first=True)
        self.add_module(unit, reader)
        self.out = nn.Linear(2 * hidden, classes)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Numbers of words (N, T, 1), of which each clip has its length -> logits (N, classes)."""
        numbers = frames[..., 0].contiguous()
        places = torch.searchsorted(self.vocabulary, numbers).clamp(max=len(self.vocabulary) - 1)
        is_known = self.vocabulary[places] == numbers
        if self.training:
            is_known &= torch.rand(numbers.shape) >= WORDS_DROPPED
        inputs = self.dropout(self.embedding(torch.where(is_known, places + 1, 0)))
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        states, last = self.get_submodule(self.unit)(packed)
        if self.unit == "lstm":
            last, _ = last
        held, _ = pad_packed_sequence(states, batch_first=True)
        mean = held.sum(dim=1) / lengths[:, None]
        logits: Tensor = self.out(self.dropout(torch.cat([last[0], mean], dim=1)))
        return logits


def batch(clips: Ragged) -> tuple[Tensor, Tensor]:
    """float32 (N, T, D), or int64 (N, T, 1) of words, padded with zeros, and the lengths (N,)."""
    lengths = torch.from_numpy(clips.lengths.copy())
    is_words = clips.frames.dtype == np.int64
    frames = torch.from_numpy(clips.frames.copy() if is_words else clips.frames.astype(np.float32))
    return pad_sequence(list(torch.split(frames, lengths.tolist())), batch_first=True), lengths


def predict(network: nn.Module, clips: Ragged) -> npt.NDArray[np.float64]:
    """Class probabilities (N, classes), N at least 1."""
    network.eval()
    found = []
    with torch.inference_mode():
        for first in range(0, len(clips), BATCH_CLIPS):
            logits = network(*batch(clips.between(first, first + BATCH_CLIPS)))
            found.append(logits.double().softmax(dim=1).numpy())
    return np.concatenate(found)


def to_safetensors(network: nn.Module) -> bytes:
    """The weights of a network; the same weights give the same bytes."""
    import safetensors.torch

    return safetensors.torch.save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})


def from_tensors(kind: str, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A trained head's network. Raises KeyError, ValueError or RuntimeError where the tensors are of something else."""
    classes, width = tensors["out.weight"].shape
    network: nn.Module
    if kind == "gru":
        dim, components = tensors["projection"].shape
        network = GruNetwork(dim, components, classes, hidden=width)
    elif kind in TEXT_UNITS:
        network = TextNetwork(len(tensors["vocabulary"]), classes, hidden=width // 2, unit=TEXT_UNITS[kind])
    else:
        network = LinearNetwork(width, classes)
    network.load_state_dict(dict(tensors))
    return network.eval()
