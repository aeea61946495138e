"""Corpora for tests of the whole: many codecs and containers, with and without audio, some of it broken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vidray.testing import Sweep, SyntheticVideo, write_video

SECONDS = 3
FPS = 10

MIXED = {
    "h264.mp4": SyntheticVideo(codec="libx264", audio=Sweep(codec="aac")),
    "h264.mov": SyntheticVideo(codec="libx264", b_frames=0),
    "h264.ts": SyntheticVideo(codec="libx264", audio=Sweep(codec="mp2")),
    "hevc.mkv": SyntheticVideo(codec="libx265", audio=Sweep(codec="ac3")),
    "vp9.webm": SyntheticVideo(codec="libvpx-vp9", b_frames=0, audio=Sweep(codec="libopus")),
    "av1.mkv": SyntheticVideo(codec="libsvtav1", b_frames=0),
    "mpeg4.avi": SyntheticVideo(codec="mpeg4", b_frames=0, audio=Sweep(codec="libmp3lame")),
    "mpeg2.mpg": SyntheticVideo(codec="mpeg2video", fps=25, audio=Sweep(codec="mp2")),
    "mpeg1.mpg": SyntheticVideo(codec="mpeg1video", fps=25),
    "vp8.webm": SyntheticVideo(codec="libvpx", b_frames=0),
}
BROKEN = {"garbage.mp4": b"this is no video at all" * 100, "empty.mkv": b""}
WITH_AUDIO = frozenset(name for name, video in MIXED.items() if video.audio)


def write_mixed_corpus(folder: Path) -> None:
    """Ten videos of three seconds and two broken files, in a folder with a subfolder and a text file."""
    (folder / "deeper").mkdir(parents=True)
    (folder / "notes.txt").write_text("not a video")
    for index, (name, video) in enumerate(MIXED.items()):
        place = folder / "deeper" if index % 3 == 0 else folder
        fps = video.fps if video.codec.startswith(("mpeg1", "mpeg2")) else FPS
        audio = replace(video.audio, length_s=float(SECONDS)) if video.audio else None
        write_video(place / name, replace(video, fps=fps, frames=SECONDS * int(fps), audio=audio))
    for name, data in BROKEN.items():
        (folder / name).write_bytes(data)
