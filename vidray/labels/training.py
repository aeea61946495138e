"""Train a head on labeled clips, and say how well it does on videos that it has not seen.

Everything is split by video: clips of one video look alike, and a head that has seen one of them is no judge of the
others. Imports torch and scikit-learn at once; knows no store and no Ray.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn

from vidray.errors import UsageError
from vidray.labels.examples import Ragged
from vidray.labels.networks import TEXT_UNITS, GruNetwork, LinearNetwork, TextNetwork, batch, predict
from vidray.labels.word_examples import vocabulary

Ints = npt.NDArray[np.int64]
Split = tuple[Ints, Ints]

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""C of the logistic regression: the inverse strength of its L2 penalty, on features of deviation 1."""
DEFAULT_PENALTY = 1e-2
EPOCHS = 200
PATIENCE_EPOCHS = 25
MOST_WORDS_KNOWN = 20_000
DEFAULT_EPOCHS = 50
BATCH_CLIPS = 16
LEARNING_RATE = 3e-3
CLIPS_A_COMPONENT = 4
COMPONENTS_LEAST = 4
COMPONENTS_MOST = 256
COMPONENTS_FROM_FRAMES = 20_000
VALIDATION_FOLDS = 5
LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Examples:
    """Labeled clips with features.

    Attributes:
        clips: Features of N clips.
        classes: int64 (N,), the class of each, from 0.
        videos: int64 (N,), which video each is of.
        count: How many classes there are.
    """

    clips: Ragged
    classes: Ints
    videos: Ints
    count: int

    def take(self, clips: Ints) -> Examples:
        return replace(self, clips=self.clips.take(clips), classes=self.classes[clips], videos=self.videos[clips])


@dataclass(frozen=True)
class Fitted:
    """A network and the setting that was chosen for it: `C` of a linear head, `epochs` of a recurrent one."""

    network: nn.Module
    setting: dict[str, float]


def splits(examples: Examples, folds: int, *, seed: int) -> list[Split]:
    """Numbers of clips to train on and to hold out, for each fold: all clips of a video on one side.

    Classes are spread over the folds as evenly as whole videos allow.

    Raises:
        UsageError: A fold would leave a class without a clip to train on.
    """
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    blank = np.zeros(len(examples.classes))
    found = [(train, test) for train, test in splitter.split(blank, examples.classes, examples.videos)]
    if any(len(np.unique(examples.classes[train])) < examples.count for train, _ in found):
        raise UsageError(f"{folds} folds leave a class with no clip to train on; label more videos, or use fewer folds")
    return found


def fit(kind: str, examples: Examples, *, seed: int) -> Fitted:
    """Train a `linear`, a `gru`, a `text` or a `text-lstm` head, each class counting alike however many clips it has.

    What has to be chosen, the penalty of the first and the epochs of the others (early stop), is chosen by the loss on
    a fifth of the videos; then the head is trained on all of them.
    """
    split = _validation(examples, seed)
    parts = None if split is None else (examples.take(split[0]), examples.take(split[1]))
    with _one_thread():
        if kind == "linear":
            penalty = DEFAULT_PENALTY if parts is None else _best_penalty(*parts)
            return Fitted(_linear(examples, penalty), {"C": penalty})
        epochs = DEFAULT_EPOCHS if parts is None else _best_epochs(kind, *parts, seed=seed)
        *_, network = _epochs(kind, examples, epochs, seed)
        return Fitted(network, {"epochs": epochs})


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Batches are too small to share among threads, and sums must not depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _validation(examples: Examples, seed: int) -> Split | None:
    """The clips in two, or None where a class has too few videos for that."""
    least = least_videos(examples)
    if least < 2:
        return None
    with contextlib.suppress(UsageError):
        return splits(examples, min(VALIDATION_FOLDS, least), seed=seed)[0]
    return None


def least_videos(examples: Examples) -> int:
    """In how many videos the class that is in the fewest is."""
    pairs = np.unique(np.stack([examples.classes, examples.videos]), axis=1)
    return int(np.bincount(pairs[0], minlength=examples.count).min())


def _class_weights(examples: Examples) -> npt.NDArray[np.float64]:
    counts = np.bincount(examples.classes, minlength=examples.count)
    present = np.count_nonzero(counts)
    weights = np.divide(len(examples.classes), present * counts, out=np.zeros(len(counts)), where=counts > 0)
    return np.asarray(weights, np.float64)


def _loss(network: nn.Module, examples: Examples) -> float:
    """Cross entropy, each class counting alike."""
    probabilities = predict(network, examples.clips)[np.arange(len(examples.classes)), examples.classes]
    weights = _class_weights(examples)[examples.classes]
    return float(-np.average(np.log(np.maximum(probabilities, LEAST_PROBABILITY)), weights=weights))


def _moments(frames: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    mean, deviation = frames.mean(axis=0, dtype=np.float64), frames.std(axis=0, dtype=np.float64)
    return mean, np.where(deviation > 1e-6, deviation, 1.0)


def _best_penalty(train: Examples, held_out: Examples) -> float:
    return min(PENALTIES, key=lambda penalty: _loss(_linear(train, penalty), held_out))


def _linear(examples: Examples, penalty: float) -> LinearNetwork:
    mean, scale = _moments(examples.clips.frames)
    regression = LogisticRegression(C=penalty, class_weight="balanced", max_iter=1000)
    regression.fit((examples.clips.frames - mean) / scale, examples.classes)
    weight, bias = regression.coef_, regression.intercept_
    if examples.count == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    network = LinearNetwork(weight.shape[1], examples.count)
    with torch.no_grad():
        network.out.weight.copy_(torch.from_numpy(weight / scale))
        network.out.bias.copy_(torch.from_numpy(bias - (weight / scale) @ mean))
    return network


def _best_epochs(kind: str, train: Examples, held_out: Examples, *, seed: int) -> int:
    best, best_loss = 1, np.inf
    for epoch, network in enumerate(_epochs(kind, train, EPOCHS, seed), start=1):
        loss = _loss(network, held_out)
        if loss < best_loss:
            best, best_loss = epoch, loss
        if epoch - best >= PATIENCE_EPOCHS:
            break
    return best


def _gru(examples: Examples) -> GruNetwork:
    mean, projection = _components(examples)
    network = GruNetwork(projection.shape[0], projection.shape[1], examples.count)
    network.mean.copy_(torch.from_numpy(mean))
    network.projection.copy_(projection)
    return network


def _text(examples: Examples, kind: str) -> TextNetwork:
    texts = np.split(examples.clips.frames, np.cumsum(examples.clips.lengths)[:-1])
    words = vocabulary([text[:, 0] for text in texts], MOST_WORDS_KNOWN)
    network = TextNetwork(len(words), examples.count, unit=TEXT_UNITS[kind])
    network.vocabulary.copy_(torch.from_numpy(words))
    return network


def _epochs(kind: str, examples: Examples, epochs: int, seed: int) -> Iterator[nn.Module]:
    """The network after each epoch: the same object, trained on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _text(examples, kind) if kind in TEXT_UNITS else _gru(examples)
        optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
        criterion = nn.CrossEntropyLoss(torch.from_numpy(_class_weights(examples)).float())
        for _ in range(epochs):
            network.train()
            for chosen in torch.split(torch.randperm(len(examples.classes)), BATCH_CLIPS):
                some = examples.take(chosen.numpy())
                loss = criterion(network(*batch(some.clips)), torch.from_numpy(some.classes))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            yield network


def _components(examples: Examples) -> tuple[npt.NDArray[np.float64], torch.Tensor]:
    """The mean frame, and the map (D, components) to the principal components of the others.

    Few clips cannot tell which of a thousand dimensions matter: there are a quarter as many components as clips, and
    they come out with variances of 1 on average.
    """
    frames = examples.clips.frames[:: -(-len(examples.clips.frames) // COMPONENTS_FROM_FRAMES)]
    mean, scale = _moments(frames)
    standard = torch.from_numpy((frames - mean) / scale)
    count = min(max(COMPONENTS_LEAST, len(examples.clips) // CLIPS_A_COMPONENT), COMPONENTS_MOST, *standard.shape)
    variances, axes = torch.linalg.eigh(standard.T @ standard / len(standard))
    strength = variances[-count:].mean().clamp_min(1e-12).sqrt()
    return mean, axes[:, -count:] / strength / torch.from_numpy(scale)[:, None]
