"""The extractors that come with vidray: their names, and what `vidray models` says of them."""

from __future__ import annotations

from vidray.extractors.protocol import ModelInfo


def names() -> list[str]:
    """Every name that `-x` takes, without those of third parties."""
    from vidray.extractors.audio import torchaudio
    from vidray.extractors.vision import open_clip, torchvision, torchvision_detection, torchvision_segmentation

    models = [*torchvision.model_names("frame"), *torchvision.model_names("video")]
    models += [*torchvision_detection.model_names(), *torchvision_segmentation.model_names()]
    return [
        "efficientnet_lite0",
        "yamnet",
        "quality",
        "faces",
        *(f"torchvision/{model}" for model in models),
        *(f"torchaudio/{bundle}" for bundle in torchaudio.bundle_names()),
        *(f"open_clip/{model}" for model in open_clip.model_names()),
    ]


def catalog() -> list[ModelInfo]:
    """One line for each name, installed or not; takes seconds, since every architecture is looked at."""
    from vidray.extractors import quality
    from vidray.extractors.audio import torchaudio, yamnet
    from vidray.extractors.vision import (
        efficientnet,
        faces,
        open_clip,
        torchvision,
        torchvision_detection,
        torchvision_segmentation,
    )

    return [
        efficientnet.info(),
        yamnet.info(),
        quality.info(),
        faces.info(),
        *torchvision.infos(),
        *torchvision_detection.infos(),
        *torchvision_segmentation.infos(),
        *torchaudio.infos(),
        *open_clip.infos(),
    ]
