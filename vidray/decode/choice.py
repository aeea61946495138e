"""Which of a container's streams count: the frames, and the tracks of audio.

The rule for audio, where nobody says otherwise: of the tracks for everybody (no commentary, no description for the
blind, no clean effects) the default one, or else the first, is the lead. Where the lead is mono and others are of the
same kind and language, each is a microphone of one recording, and all are mixed. Else the lead is heard alone; the
others are other languages or other mixes of the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vidray.errors import DecodeError

AUTO = "auto"

_SPECIAL = (
    Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.comment
    | Disposition.dependent
    | Disposition.clean_effects
    | Disposition.karaoke
)
_SPECIAL_TITLES = ("comment", "descri")


def is_attached(stream: Stream) -> bool:
    """Whether a stream is a cover or a set of thumbnails, no frames of the video."""
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def best_video(container: InputContainer) -> VideoStream | None:
    """The default stream of frames, or else the largest; None where nothing can be decoded."""
    usable = [s for s in container.streams.video if not is_attached(s) and s.codec_context is not None]
    return max(
        usable,
        key=lambda s: (bool(s.disposition & Disposition.default), s.width * s.height, -s.index),
        default=None,
    )


def audio_tracks(container: InputContainer) -> list[AudioStream]:
    """All that can be decoded, in the file's order."""
    return [s for s in container.streams.audio if s.codec_context is not None]


def chosen_audio(container: InputContainer, track: int | str, uri: str) -> tuple[AudioStream, ...]:
    """The tracks that are mixed, the lead first; none where there is no audio.

    Args:
        track: "auto" for the rule above, a number from 1 on, or a language as the file spells it.

    Raises:
        DecodeError: There is audio, but no such track.
    """
    tracks = audio_tracks(container)
    if not tracks:
        return ()
    if isinstance(track, int):
        if not 1 <= track <= len(tracks):
            raise DecodeError("unsupported", f"there is no audio track {track}; it has {len(tracks)}", uri)
        return (tracks[track - 1],)
    if track == AUTO:
        return _microphones(tracks)
    spoken = [s for s in tracks if language_of(s).casefold() == track.casefold()]
    if not spoken:
        there = ", ".join(sorted({language_of(s) or "none" for s in tracks}))
        raise DecodeError("unsupported", f"there is no audio track in the language {track!r}; it has {there}", uri)
    return _microphones(spoken)


def other_leads(container: InputContainer, chosen: Sequence[AudioStream]) -> list[AudioStream]:
    """Tracks for everybody that could be heard in place of the chosen one, should it be silent throughout."""
    same = [s for s in _ordinary(audio_tracks(container)) if s not in chosen]
    return sorted(same, key=lambda s: (language_of(s) != language_of(chosen[0]), s.index)) if chosen else []


def language_of(stream: Stream) -> str:
    """As the file spells it; empty where it does not say."""
    language = stream.language or ""
    return "" if language == "und" else language


def spoken_of(container: InputContainer, chosen: Sequence[AudioStream]) -> str | None:
    """In words which tracks are heard; None where there is no choice."""
    tracks = audio_tracks(container)
    if len(tracks) < 2:
        return None
    names = [_name(tracks, stream) for stream in sorted(chosen, key=lambda s: s.index)]
    return f"{' + '.join(names)} of {len(tracks)}"


def _name(tracks: Sequence[AudioStream], stream: AudioStream) -> str:
    number = 1 + [s.index for s in tracks].index(stream.index)
    language = language_of(stream)
    return f"{number} ({language})" if language else str(number)


def _microphones(tracks: Sequence[AudioStream]) -> tuple[AudioStream, ...]:
    ordinary = _ordinary(tracks)
    lead = max(ordinary, key=lambda s: (bool(s.disposition & Disposition.default), -s.index))
    if lead.layout.nb_channels != 1:
        return (lead,)
    others = [s for s in ordinary if s is not lead and _kind(s) == _kind(lead)]
    return (lead, *others)


def _ordinary(tracks: Sequence[AudioStream]) -> list[AudioStream]:
    return [s for s in tracks if not _is_special(s)] or list(tracks)


def _is_special(stream: AudioStream) -> bool:
    title = " ".join(v for k, v in stream.metadata.items() if k.lower() in ("title", "handler_name")).lower()
    return bool(stream.disposition & _SPECIAL) or any(word in title for word in _SPECIAL_TITLES)


def _kind(stream: AudioStream) -> tuple[object, ...]:
    return stream.codec.canonical_name, stream.sample_rate, stream.layout.name, language_of(stream)
