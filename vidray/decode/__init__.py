"""Decoding: probe a container, sample frames and audio of clips. The only importer of `av`.

It knows no model and no Ray. FFmpeg never opens a file or a connection itself; it reads the file object that it is
given.
"""

from vidray.decode.account import account
from vidray.decode.probing import probe
from vidray.decode.protocol import Decoder, OpensVideo
from vidray.decode.reader import VideoReader, read_image

open_video: OpensVideo = VideoReader
"""The decoder of clips: all that is extracted or searched for is read through it."""

__all__ = ["Decoder", "VideoReader", "account", "open_video", "probe", "read_image"]
