"""What a child may answer: exactly what was asked for, in any pieces; everything else is nonsense."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidray.media import Audio, AudioSamples, Decoded, FrameRate, RawFrames, Resize
from vidray.sandbox import wire

FRAMES = FrameRate(fps=2.0, resize=Resize(size=32)).request(0.0, 1.0)
AUDIO = Audio(8000).request(0.0, 1.0)
GOOD = {s: AudioSamples(samples=np.zeros(8000, np.float32), sample_rate=8000) for s in (AUDIO,)} | {
    FRAMES: RawFrames(
        times_s=np.array([0.0, 0.5]),
        frames=np.zeros((2, 32, 40, 3), np.uint8),
        places=np.array([0, 1]),
        is_over=np.array([False, True]),
    )
}


def packed() -> tuple[dict, memoryview]:
    header, parts = wire.pack_decoded(Decoded(GOOD), (AUDIO, FRAMES))
    return json.loads(json.dumps(header)), memoryview(b"".join(parts))


def test_an_answer_survives_the_wire():
    header, payload = packed()
    decoded = wire.unpack_decoded(header, payload, (AUDIO, FRAMES), "uri")
    assert decoded.warnings == {}
    np.testing.assert_array_equal(decoded.samples[FRAMES].times_s, [0.0, 0.5])
    np.testing.assert_array_equal(decoded.samples[FRAMES].is_over, [False, True])


@pytest.mark.parametrize("places", [[0, 2], [-2, 0], [-1, -1]])
def test_places_of_frames_that_are_not_there_are_nonsense(places):
    odd = GOOD | {FRAMES: replace(GOOD[FRAMES], places=np.array(places))}
    header, parts = wire.pack_decoded(Decoded(odd), (AUDIO, FRAMES))
    with pytest.raises(wire.WireError):
        wire.unpack_decoded(header, memoryview(b"".join(parts)), (AUDIO, FRAMES), "uri")


def test_requests_survive_the_wire():
    keyframes = FrameRate(fps=0.3, keyframes=True, resize=Resize(size=(3, 5), crop=(1, 2))).request(1 / 3, 99.7)
    asked = [FRAMES, AUDIO, keyframes]
    entries, parts = wire.pack_requests(asked)
    assert wire.unpack_requests(json.loads(json.dumps(entries)), memoryview(b"".join(parts))) == asked


@pytest.mark.parametrize(
    "shapes",
    [
        [[8001]], [[-1]], [[8000, 1]], [["8000"]], [[True]], [[8000.0]], [[10**30]], [], "x", None, [None],
    ],
)  # fmt: skip
def test_shapes_that_were_not_asked_for_are_nonsense(shapes):
    header, payload = packed()
    header["samples"][0]["shapes"] = shapes
    with pytest.raises(wire.WireError):
        wire.unpack_decoded(header, payload, (AUDIO, FRAMES), "uri")


@pytest.mark.parametrize(
    "shapes",
    [
        [[3], [3], [3, 32, 40, 3], [3]], [[2], [2], [2, 32, 40, 4], [2]], [[2], [2], [1, 32, 40, 3], [2]],
        [[2], [2], [2, 0, 10**9, 3], [2]], [[0], [0], [0, 32, 40, 3], [0]], [[2], [2], [2, 32, 41, 3], [2]], [[2]],
        [[2], [2], [2, 32, 40], [2]], [[2], [1], [2, 32, 40, 3], [2]], [[2], [2], [3, 32, 40, 3], [2]],
    ],
)  # fmt: skip
def test_frames_that_were_not_asked_for_are_nonsense(shapes):
    header, payload = packed()
    header["samples"][1]["shapes"] = shapes
    with pytest.raises(wire.WireError):
        wire.unpack_decoded(header, payload, (AUDIO, FRAMES), "uri")


INFO = {
    "duration_s": 10.0, "fps": 25.0, "width": 64, "height": 48, "rotation": 0, "video_codec": "h264",
    "audio_codec": None, "sample_rate": None, "audio_tracks": None, "holes": [],
}  # fmt: skip


@pytest.mark.parametrize(
    "odd",
    [
        {"duration_s": float("nan")}, {"duration_s": float("inf")}, {"duration_s": -1.0}, {"duration_s": None},
        {"fps": float("inf")}, {"fps": "x"}, {"width": 0}, {"width": 1.5}, {"height": 10**12}, {"rotation": 45},
        {"video_codec": 5}, {"sample_rate": -1}, {"more": 1},
    ],
)  # fmt: skip
def test_headers_that_cannot_be_are_nonsense(odd):
    wire.unpack_info({"info": INFO})
    with pytest.raises(wire.WireError):
        wire.unpack_info({"info": INFO | odd})


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=3), v, max_size=3))
entries = st.none() | st.fixed_dictionaries({}, optional={"shapes": values, "error": values})


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional={"samples": st.lists(entries, max_size=3) | values, "warning": values}))
def test_any_answer_is_taken_or_refused(header):
    payload = memoryview(bytes(64))
    for act in (
        lambda: wire.unpack_decoded(header, payload, (AUDIO, FRAMES), "uri"),
        lambda: wire.unpack_info(header),
        lambda: wire.unpack_info({"info": header}),
        lambda: wire.unpack_range(header),
        lambda: wire.unpack_error(header.get("samples"), "uri"),
    ):
        with contextlib.suppress(wire.WireError):
            act()


def test_a_message_is_received_in_any_pieces():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender, receiver = wire.Channel(ours), wire.Channel(theirs, watch=lambda: None)
        payload = memoryview(np.arange(3_000_000, dtype=np.uint8))
        thread = threading.Thread(target=sender.send, args=({"text": "ä"}, [payload[:10], payload[10:]]))
        thread.start()
        header, received = receiver.receive(max_payload_bytes=3_000_000)
        thread.join()
        assert header == {"text": "ä"}
        assert received == payload
