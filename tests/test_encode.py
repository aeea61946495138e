"""Audio that vidray makes: as long as it was, at the times at which it was, the same bytes each time."""

from __future__ import annotations

import io

import av
import numpy as np
import numpy.typing as npt
import pytest

from vidray.encode import RATE, opus


def heard(file: bytes) -> npt.NDArray[np.float32]:
    """A file's samples at 24 kHz."""
    resampler = av.AudioResampler("flt", "mono", RATE)
    with av.open(io.BytesIO(file)) as container:
        frames = [*container.decode(audio=0), None]
        return np.concatenate([part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)])


def noise(count: int) -> npt.NDArray[np.float32]:
    white = np.random.default_rng(0).standard_normal(count)
    return np.asarray(0.1 * np.convolve(white, np.ones(8) / 8, "same"), np.float32)


@pytest.mark.parametrize("count", [1000, 24_000, 61_803])
def test_a_file_is_as_long_as_its_samples_and_no_later(count: int):
    samples = noise(count)
    found = heard(opus([samples], RATE))
    assert 0 <= len(found) - count <= (0 if count >= RATE else 0.007 * RATE)
    if count >= RATE:
        assert np.correlate(found, samples, "full").argmax() == count - 1


def test_pieces_and_calls_give_the_same_bytes():
    samples = noise(50_000)
    whole = opus([samples], RATE)
    assert whole == opus([samples], RATE) == opus([samples[:5], samples[:0], samples[5:30_000], samples[30_000:]], RATE)
    assert whole != opus([-samples], RATE)
    assert opus([], RATE) == b""


def test_another_rate_lasts_as_long():
    assert len(heard(opus([noise(22_050)], 22_050))) == pytest.approx(RATE, abs=1)
