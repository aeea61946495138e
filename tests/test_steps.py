"""Steps: what goes through them is better, the same wherever clips are cut, and the same for tables and queries."""

from __future__ import annotations

import importlib
import pickle
from dataclasses import dataclass, replace

import clip_inputs
import numpy as np
import pyarrow as pa
import pytest
import spoken

from vidray.errors import SpecMismatchError, UsageError
from vidray.extractors import resolve
from vidray.extractors.quality import SAMPLE_RATE, Quality
from vidray.extractors.spec import describe, misshapen, restore
from vidray.extractors.with_steps import WithSteps, with_steps
from vidray.media import Audio, AudioSamples, FrameRate, RawFrames, Resize, record_of, span_read, with_context
from vidray.plugins import known_options
from vidray.steps import improved, names, step_from, steps_of, text_of
from vidray.steps.audio.bs1770 import loudness
from vidray.steps.audio.denoise import below_db, mixed
from vidray.steps.protocol import AUDIO_RATE
from vidray.steps.registry import STEPS, record_of_step
from vidray.steps.resampling import resampled
from vidray.testing import check_extractor

L709 = np.array([0.2126, 0.7152, 0.0722])


def tone(amplitude, *, hz=997.0, length_s=2.0, rate=AUDIO_RATE, start_s=0.0):
    times = start_s + np.arange(round(length_s * rate)) / rate
    return AudioSamples(
        samples=(amplitude * np.sin(2 * np.pi * hz * times)).astype(np.float32), sample_rate=rate, start_s=start_s
    )


def heard(sampling, track, start_s, end_s):
    """What a sampling gives of a clip of a track at 48 kHz, read as the pipeline reads it."""
    duration_s = len(track) / AUDIO_RATE
    request = sampling.request(*span_read(sampling, start_s, end_s, duration_s))
    raw = AudioSamples(
        samples=track[request.first : request.first + request.count],
        sample_rate=AUDIO_RATE,
        start_s=request.first / AUDIO_RATE,
    )
    return sampling.collect(raw, *with_context(sampling, start_s, end_s, duration_s))


def scene(seed=0, size=(96, 128)):
    """A frame as even as real ones: soft shapes, some edges, no noise."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    frame = np.full((*size, 3), 0.42) + 0.3 * np.sin(x / 20)[..., None]
    for _ in range(12):
        cy, cx, radius = generator.uniform(0, size[0]), generator.uniform(0, size[1]), generator.uniform(6, 30)
        frame[np.hypot(y - cy, x - cx) < radius] = generator.uniform(0.1, 0.85, 3)
    return np.asarray(255 * frame, np.uint8)


def psnr(one, other):
    return 10 * np.log10(255**2 / np.square(one.astype(float) - other).mean())


def frames_step(text):
    (step,) = steps_of("frames", text)
    return step.load()


def audio_step(text):
    (step,) = steps_of("audio", text)
    return step.load()


def test_without_steps_all_is_as_before():
    sampling = FrameRate(fps=2.0)
    assert improved(sampling, ()) is sampling
    extractor = Quality()
    assert with_steps(extractor, {}, "quality") is extractor
    assert "steps" not in str(describe(extractor))


@pytest.mark.parametrize("modality", STEPS)
def test_what_is_typed_recorded_and_pickled_is_the_same_step(modality):
    for name in names(modality):
        (step,) = steps_of(modality, name)
        assert step.modality == modality
        assert step_from(modality, record_of_step(step)) == step
        assert pickle.loads(pickle.dumps(step)) == step
        assert steps_of(modality, text_of((step,))) == (step,)


def test_the_order_named_is_the_order_taken_and_options_are_kept():
    text = "loudness:lufs=-16.0,noise:db=5.0:seed=3"
    steps = steps_of("audio", text)
    assert text_of(steps) == text
    quiet = heard(improved(Audio(AUDIO_RATE), steps), tone(0.1).samples, 0.0, 2.0)
    other = heard(improved(Audio(AUDIO_RATE), steps[::-1]), tone(0.1).samples, 0.0, 2.0)
    assert not np.array_equal(quiet.samples, other.samples)


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ("quality?audio=louder", "there is no step 'louder' for audio; there are denoise, loudness, noise"),
        ("quality?audio=loudness:db=3", "loudness has no option 'db'; it has lufs"),
        ("quality?audio=loudness:lufs=3", "lufs must be > -70 and <= 0, got 3"),
        ("quality?frames=noise:sigma=much", "must be a number, got 'much'"),
        ("quality?noise_db=nan", "db must be >= -150 and <= 150, got nan"),
        ("quality?noise_db=-inf", "db must be >= -150 and <= 150, got -inf"),
        ("quality?frames=noise:sigma=-1", "noise: sigma must be >= 0 and <= 255, got -1"),
        ("quality?frames=denoise:sigma=256", "denoise: sigma must be > 0 and <= 255, got 256"),
        ("quality?frames=sharpen:radius=1e300", "sharpen: radius must be > 0 and <= 100, got 1e\\+300"),
        ("quality?frames=denoise:sigma", "denoise:sigma: each option is given once, as sigma=VALUE"),
        ("quality?frames=noise:sigma=3:sigma=4", "each option is given once, as sigma=VALUE"),
        ("quality?frames=light,,noise", "there is no step '' for frames"),
        ("efficientnet_lite0?audio=loudness", "efficientnet_lite0 has no audio"),
        ("efficientnet_lite0?frames=enlarge", "changes the size of frames, which the extractor itself sets"),
    ],
)
def test_what_cannot_be_meant_is_refused(typed, complaint):
    with pytest.raises(UsageError, match=complaint):
        resolve(typed)


def test_a_spec_says_its_steps_and_gives_them_back():
    plain = resolve("quality?fps=1")
    better = resolve("quality?fps=1&audio=loudness&frames=light,sharpen:amount=0.8&noise_db=12")
    spec = describe(better)
    assert [step["step"] for step in spec["inputs"]["audio"]["steps"]] == ["loudness", "noise"]
    assert spec["inputs"]["audio"]["steps"][1]["db"] == 12.0
    assert [step["step"] for step in spec["inputs"]["frames"]["steps"]] == ["light", "sharpen"]
    assert describe(plain) == {**spec, "inputs": describe(plain)["inputs"]}
    assert restore(spec) == better
    # what a user passes without steps takes those of the table
    assert restore(spec, plain) == better
    with pytest.raises(SpecMismatchError, match="inputs differ"):
        restore(describe(plain), better)
    assert pickle.loads(pickle.dumps(better)) == better
    assert isinstance(better, WithSteps)
    assert better.fps == 1


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("modality", "name"), [(modality, name) for modality in STEPS for name in STEPS[modality]])
def test_no_option_of_a_step_is_without_bounds(modality, name, value):
    module, _, cls = STEPS[modality][name].partition(":")
    for option, kind in known_options(getattr(importlib.import_module(module), cls)).items():
        if "float" in str(kind):
            with pytest.raises(UsageError, match=f"{option} must be .*, got {value}"):
                steps_of(modality, f"{name}:{option}={value}")


@pytest.mark.parametrize("steps", [["x"], 3, "light", {"step": "light"}])
def test_steps_that_are_none_are_no_spec(steps):
    spec = describe(resolve("quality"))
    spec["inputs"]["frames"]["steps"] = steps
    assert "the steps of the input frames must be a list of objects" in str(misshapen(spec))


@pytest.mark.parametrize("record", ["x", None, {"step": "light", "target": "x"}, {"step": "polish"}, {"step": 3}])
def test_a_damaged_step_is_said(record):
    with pytest.raises(SpecMismatchError, match="which is not known"):
        step_from("frames", record)
    with pytest.raises(SpecMismatchError, match="there are none"):
        step_from("smells", {"step": "light"})


@dataclass(frozen=True)
class Own:
    """An extractor whose own option is called as vidray's."""

    frames: int = 4

    name = "own"
    schema = pa.schema([("n", pa.int64())])

    @property
    def inputs(self):
        return {"frames": FrameRate(fps=self.frames)}

    def load(self, device):
        return lambda items: {"n": [len(item["frames"].frames) for item in items]}


def test_third_parties_extractors_take_steps_and_keep_their_own_options():
    assert resolve("test_steps:Own?frames=3") == Own(frames=3)
    better = resolve("test_steps:NoField?frames=light")
    assert isinstance(better, WithSteps)
    assert describe(better)["extractor"] == "test_steps:NoField"
    assert record_of(better.inputs["frames"])["steps"] == [{"step": "light", "version": "1"}]


@dataclass(frozen=True)
class NoField:
    name = "own"
    schema = pa.schema([("n", pa.int64())])
    inputs = {"frames": FrameRate(fps=2)}  # noqa: RUF012

    def load(self, device):
        return Own().load(device)


@pytest.mark.parametrize("amplitude", [0.02, 0.5])
def test_loudness_comes_to_the_target(amplitude):
    found = loudness(audio_step("loudness:lufs=-20")(tone(amplitude)))
    assert found == pytest.approx(-20.0, abs=0.05)


def test_loudness_leaves_silence_alone_and_gains_no_more_than_20_db():
    level = audio_step("loudness")
    silent = tone(1e-4, hz=50.0)
    assert level(silent).samples is silent.samples
    assert level(tone(0.5, length_s=0.3)).samples.max() == tone(0.5, length_s=0.3).samples.max()
    quiet = tone(0.001)
    assert np.abs(level(quiet).samples).max() == pytest.approx(10 * np.abs(quiet.samples).max(), rel=1e-5)
    click = tone(0.01)
    click.samples[1000] = 0.9
    assert np.abs(level(click).samples).max() <= 1.0


def test_noise_is_so_far_below_and_the_same_for_the_same_audio():
    speech = tone(0.2)
    for color in ("pink", "white"):
        noisy = audio_step(f"noise:db=10:color={color}")(speech)
        added = noisy.samples - speech.samples
        assert 10 * np.log10(np.square(speech.samples).mean() / np.square(added).mean()) == pytest.approx(10, abs=0.1)
        assert np.array_equal(audio_step(f"noise:db=10:color={color}")(speech).samples, noisy.samples)
        assert not np.array_equal(audio_step(f"noise:db=10:color={color}:seed=1")(speech).samples, noisy.samples)
    assert not audio_step("noise")(tone(0.0)).samples.any()


@pytest.mark.parametrize("rate", [8_000, 16_000, 32_000, 44_100])
@pytest.mark.parametrize("start_s", [0.0, 1.234567])
def test_resampled_audio_stands_where_it_stood(rate, start_s):
    wanted = Audio(rate).request(start_s + 0.1, start_s + 0.9)
    found = resampled(tone(0.5, hz=440.0, length_s=1.0, start_s=round(start_s * AUDIO_RATE) / AUDIO_RATE), wanted)
    times = (wanted.first + np.arange(wanted.count)) / rate
    assert np.abs(found.samples - 0.5 * np.sin(2 * np.pi * 440.0 * times)).max() < 2e-3


def test_channels_stay_channels():
    stereo = Audio(16_000, channels="all")
    track = np.stack([tone(0.1).samples, tone(0.2, hz=300.0).samples])
    sampling = improved(stereo, steps_of("audio", "loudness"))
    found = sampling.collect(AudioSamples(samples=track, sample_rate=AUDIO_RATE), 0.0, 2.0)
    assert found.samples.shape == (2, 32_000)
    assert np.abs(found.samples[1]).max() == pytest.approx(2 * np.abs(found.samples[0]).max(), rel=0.02)


def noisy_speech(db=5.0):
    """LibriVox at 48 kHz, and the same with pink noise."""
    track = np.concatenate([samples for samples, _ in spoken.librivox()])
    audio = AudioSamples(samples=track, sample_rate=spoken.RATE)
    clean = resampled(audio, Audio(AUDIO_RATE).request(0.0, len(track) / spoken.RATE))
    return clean.samples, audio_step(f"noise:db={db}")(clean).samples


def si_sdr(reference, found):
    target = reference * (reference @ found) / (reference @ reference)
    return 10 * np.log10(np.square(target).sum() / np.square(found - target).sum())


@pytest.mark.slow
def test_denoised_speech_is_nearer_to_the_clean_one_and_the_same_however_clips_are_cut():
    clean, noisy = noisy_speech()
    sampling = improved(Audio(AUDIO_RATE), steps_of("audio", "denoise"))
    duration_s = len(noisy) / AUDIO_RATE
    whole = heard(sampling, noisy, 0.0, duration_s).samples
    assert si_sdr(clean, whole) >= si_sdr(clean, noisy) + 4
    for rate in (AUDIO_RATE, 16_000):
        sampling = improved(Audio(rate), steps_of("audio", "denoise"))
        whole = heard(sampling, noisy, 0.0, duration_s).samples
        for length_s in (2.0, 7.0, 10.0):
            starts = np.arange(0.0, duration_s, length_s)
            parts = [heard(sampling, noisy, start, min(start + length_s, duration_s)).samples for start in starts]
            joined = np.concatenate(parts)
            assert abs(len(joined) - len(whole)) <= len(parts)
            count = min(len(joined), len(whole))
            assert np.array_equal(joined[:count], whole[:count])


@pytest.mark.parametrize(("below", "share"), [(30.0, 0.0), (18.0, 0.0), (15.0, 0.5), (12.0, 1.0), (0.0, 1.0)])
def test_audio_stays_as_it_is_where_what_would_be_taken_away_is_little(below, share):
    speech, noise = tone(0.1).samples, tone(0.1 * 10 ** (-below / 20), hz=300.0).samples
    assert below_db(speech + noise, speech) == pytest.approx(np.full(200, below), abs=0.05)
    found = mixed(speech + noise, speech, 1.0, 18.0)
    assert found == pytest.approx(speech + (1 - share) * noise, abs=3e-4)
    limited = mixed(speech + noise, speech, 0.75, 18.0)
    assert limited == pytest.approx(speech + (1 - 0.75 * share) * noise, abs=3e-4)
    silent = np.zeros_like(speech)
    assert not mixed(silent, silent, 1.0, 18.0).any()


def test_noise_that_comes_later_is_taken_away_where_it_is():
    speech, noise = tone(0.1, length_s=6.0).samples, tone(0.1, hz=300.0, length_s=6.0).samples
    noise[: 3 * AUDIO_RATE] = 0
    found = mixed(speech + noise, speech, 1.0, 18.0)
    assert np.array_equal(found[: 2 * AUDIO_RATE - 480], speech[: 2 * AUDIO_RATE - 480])
    assert found[3 * AUDIO_RATE :] == pytest.approx(speech[3 * AUDIO_RATE :], abs=1e-6)


@pytest.mark.slow
def test_clean_speech_loses_no_words_and_noisy_speech_loses_fewer():
    """Half a point is less than one word of these."""
    import jiwer

    hear, texts = resolve("moonshine").load("cpu"), [spoken.plain(text) for _, text in spoken.librivox()]
    wrong = {}
    for steps in ("loudness", "denoise", "noise:db=5,loudness", "noise:db=5,denoise"):
        sampling, said = improved(Audio(spoken.RATE), steps_of("audio", steps)), []
        for samples, _ in spoken.librivox():
            length_s = len(samples) / spoken.RATE
            audio = AudioSamples(samples=samples, sample_rate=spoken.RATE)
            track = resampled(audio, Audio(AUDIO_RATE).request(0.0, length_s)).samples
            item = clip_inputs.item(0, heard(sampling, track, 0.0, length_s))
            clip = replace(item.clip, start_s=0.0, end_s=length_s)
            said.append(spoken.plain(hear([replace(item, clip=clip)])["text"][0]))
        wrong[steps] = jiwer.wer(texts, said)
    assert wrong["denoise"] <= wrong["loudness"] + 0.005
    assert wrong["noise:db=5,denoise"] < wrong["noise:db=5,loudness"] - 0.03


def test_frames_denoised_gain_and_clean_ones_are_left_alone():
    clean = scene()
    noisy = frames_step("noise:sigma=25")(clean)
    assert psnr(clean, frames_step("denoise")(noisy)) >= psnr(clean, noisy) + 2
    assert np.array_equal(frames_step("denoise")(clean), clean)


def test_light_brings_dark_frames_back_and_leaves_good_ones_alone():
    good = scene()
    dark = (255 * (good / 255) ** 2.5).round().astype(np.uint8)
    lit = frames_step("light")(dark)
    for measure in (np.mean, np.std):
        assert measure(lit @ L709) == pytest.approx(measure(good @ L709), rel=0.1)
    assert np.array_equal(frames_step("light")(good), good)
    flat = (good * 0.15 + 90).astype(np.uint8)
    assert (frames_step("light")(flat) @ L709).std() > 1.2 * (flat @ L709).std()
    assert frames_step("light")(np.zeros_like(good)).max() == 0


def test_white_balance_takes_a_cast_away():
    good = np.asarray(scene().mean(axis=2, keepdims=True).repeat(3, axis=2), np.uint8)
    cast = (good * np.array([1.0, 0.9, 0.7])).astype(np.uint8)
    found = frames_step("white_balance")(cast).reshape(-1, 3).mean(axis=0)
    assert found.std() / found.mean() < 0.02


def test_sharpen_steepens_edges_and_leaves_even_areas():
    edge = np.full((20, 20, 3), 60, np.uint8)
    edge[:, 10:] = 180
    found = frames_step("sharpen")(edge)
    assert found[10, 10, 0] > 180
    assert found[10, 9, 0] < 60
    assert np.array_equal(found[:, :3], edge[:, :3])


@pytest.mark.slow
def test_enlarged_frames_are_twice_as_large_and_show_the_same():
    small = scene()
    large = frames_step("enlarge")(small)
    assert large.shape == (192, 256, 3)
    back = large.reshape(96, 2, 128, 2, 3).mean(axis=(1, 3))
    assert psnr(small, back) > 30
    # a tile's edge does not show: the frame is taken apart at 256 pixels
    wide = np.concatenate([small, small[:, ::-1], small], axis=1)
    shifted = frames_step("enlarge")(wide[:, 40:])[:, 100:500].astype(int)
    assert np.abs(frames_step("enlarge")(wide)[:, 180:580] - shifted).max() <= 2


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 3, 3), (1, 40, 3)])
def test_no_frame_is_too_small(shape):
    for name in names("frames"):
        if name != "enlarge":
            for frame in (np.zeros(shape, np.uint8), np.full(shape, 40, np.uint8)):
                assert frames_step(name)(frame).shape == shape


def test_improved_frames_are_those_of_the_sampling_and_each_is_done_once():
    frames = np.stack([scene(seed) for seed in range(3)])
    times_s = np.arange(4) / 2
    over = np.zeros(4, np.bool_)
    raw = RawFrames(times_s=times_s, frames=frames, places=np.array([0, 1, 1, 2]), is_over=over)
    sampling = improved(FrameRate(fps=2.0, resize=Resize(size=96)), steps_of("frames", "noise,denoise"))
    found = sampling.collect(raw, 0.0, 2.0)
    assert np.array_equal(found.frames[1], found.frames[2])
    expected = frames_step("denoise")(frames_step("noise")(frames[2]))
    assert np.array_equal(found.frames[3], expected)
    large = improved(FrameRate(fps=2.0), steps_of("frames", "enlarge"))
    assert large.nbytes(0.0, 1.0, (10, 20)) == 4 * FrameRate(fps=2.0).nbytes(0.0, 1.0, (10, 20))
    assert large.blank(0.0, 1.0, (10, 20)).frames.shape == (2, 20, 40, 3)


def test_quality_measures_what_the_steps_made():
    better = resolve("quality?audio=loudness")
    (audio,) = (value for name, value in better.inputs.items() if name == "audio")
    found = heard(audio, tone(0.02).samples, 0.0, 2.0)
    assert found.sample_rate == SAMPLE_RATE
    assert loudness(found) == pytest.approx(-23.0, abs=0.1)


@pytest.mark.slow
def test_speech_quality_orders_clean_noisy_and_denoised_speech():
    check_extractor(resolve("speech_quality"))
    clean, noisy = (track[: 12 * AUDIO_RATE] for track in noisy_speech())
    extractor, better = resolve("speech_quality"), resolve("speech_quality?audio=denoise")
    extract = extractor.load("cpu")
    wanted = extractor.inputs["audio"].request(0.0, 12.0)
    plain = [resampled(AudioSamples(samples=track, sample_rate=AUDIO_RATE), wanted) for track in (clean, noisy)]
    tracks = [*plain, heard(better.inputs["audio"], noisy, 0.0, 12.0)]
    overall = [extract([clip_inputs.item(0, track)])["overall"][0] for track in tracks]
    assert overall[0] > overall[1] + 0.8
    assert overall[2] > overall[1] + 0.8
