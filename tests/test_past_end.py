"""A file that ends long before its headers say costs a few clips' decoding, whatever was planned."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from field_media import Media, every, write_media

from vidray.errors import DecodeError
from vidray.media import FrameRequest
from vidray.sandbox import Sandbox
from vidray.sandbox.process import Child


def test_clips_behind_the_last_packet_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media = Media(times_s=every(0.1, 0, 60), codec="mjpeg", pix_fmt="yuvj420p", b_frames=0)
    path = write_media(tmp_path / "long.mkv", media)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 6])
    asked: list[Any] = []
    ask = Child.ask

    def counted(self: Child, request: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(request)
        return ask(self, request, *arguments, **options)

    monkeypatch.setattr(Child, "ask", counted)
    with closing(Sandbox()) as sandbox:

        def read(start_s: float) -> Any:
            request = FrameRequest(times_s=(start_s,), end_s=start_s + 1)
            return sandbox.read(str(path), [request], start_s, start_s + 1, (96, 160)).samples[request]

        answers = [read(float(start_s)) for start_s in range(60)]
        assert not isinstance(answers[2], DecodeError)
        assert all(isinstance(answer, DecodeError) for answer in answers[12:])
        assert {answer.message for answer in answers[-20:]} == {answers[-1].message}
        assert answers[-1].at_s == 59.0
        assert len(asked) < 25
        # what lies before is read all the same
        assert not isinstance(read(1.0), DecodeError)
