"""Planning laws: clips cover the video, and units of work depend on the corpus and the sampling alone."""

import itertools
from collections import Counter

import pytest

from vidray.errors import UsageError
from vidray.media import Audio, Clip, FrameRate, FrameWindows, Resize, Video
from vidray.media.sampling.frame_rate import frame_size
from vidray.planning import FixedStride, blocks_of, clips_of, parts_of, slices_of
from vidray.planning.units import BLOCK_CLIPS, PART_VIDEOS, SLICE_BYTES


def video(number: int, size_bytes: int | None = 1000, **more) -> Video:
    return Video(video_id=f"{number:032x}", uri=f"/v/{number:06d}.mp4", size_bytes=size_bytes, fingerprint="f", **more)


@pytest.mark.parametrize("duration_s", [0.04, 0.1, 9.99, 10.0, 10.05, 10.2, 25.0, 3600.033])
@pytest.mark.parametrize("length_s", [0.7, 10.0])
def test_clips_without_stride_tile_the_video(duration_s, length_s):
    spans = FixedStride(length_s).spans(duration_s)
    assert spans[0][0] == 0.0
    assert spans[-1][1] == duration_s
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(spans))
    assert all(end > start for start, end in spans)


def test_overlapping_clips_stop_at_the_end_of_the_video():
    assert FixedStride(10, stride_s=5).spans(18.0) == [(0, 10), (5, 15), (10, 18.0)]


def test_clips_with_gaps_between_them():
    assert FixedStride(2, stride_s=5).spans(11.0) == [(0, 2), (5, 7), (10, 11.0)]


@pytest.mark.parametrize("options", [{"length_s": 0}, {"length_s": -1.0}, {"length_s": float("nan")}, {"stride_s": 0}])
def test_lengths_that_cannot_be_meant_are_refused(options):
    with pytest.raises(UsageError, match="must be at least"):
        FixedStride(**options)


def test_clip_ids_tell_videos_and_spans_apart_and_nothing_else():
    ids = {clip.clip_id for n in range(3) for clip in clips_of(video(n), FixedStride().spans(35.0))}
    assert len(ids) == 12
    assert ids == {clip.clip_id for n in range(3) for clip in clips_of(video(n), FixedStride().spans(35.0))}


def test_a_manifests_spans_are_the_clips():
    spans = ((1.5, 3.0), (2.0, 99.0))
    clips = clips_of(video(0, spans=spans), FixedStride().spans(10.0))
    assert [(clip.start_s, clip.end_s) for clip in clips] == list(spans)


def test_parts_close_by_number_and_by_listed_sizes():
    assert [len(part.videos) for part in parts_of([video(n) for n in range(2500)], itertools.count())] == [
        PART_VIDEOS,
        PART_VIDEOS,
        500,
    ]
    large = [video(n, size_bytes=3 << 30) for n in range(4)]
    assert [len(part.videos) for part in parts_of(large, itertools.count())] == [3, 1]


def test_parts_left_by_a_killed_run_come_out_the_same():
    videos = [video(n, size_bytes=(n % 7) << 29) for n in range(50)]
    whole = parts_of(videos, itertools.count())
    done = {0, 2}
    left = [v for part in whole if part.number not in done for v in part.videos]
    again = parts_of(left, (n for n in itertools.count() if n not in done))
    assert again == [part for part in whole if part.number not in done]


def clips(count: int, length_s: float) -> list[Clip]:
    return clips_of(video(0), FixedStride(length_s).spans(count * length_s))


def test_blocks_close_by_clips_and_by_seconds():
    assert [len(block.clips) for block in blocks_of(0, clips(3000, 1.0))] == [BLOCK_CLIPS] * 46 + [56]
    assert [len(block.clips) for block in blocks_of(0, clips(300, 10.0))] == [8] * 37 + [4]


def test_blocks_of_a_small_part_are_small():
    assert [len(block.clips) for block in blocks_of(0, clips(100, 10.0))] == [4] * 25
    assert [len(block.clips) for block in blocks_of(0, clips(9, 10.0))] == [2, 2, 2, 2, 1]
    assert [len(block.clips) for block in blocks_of(0, clips(50, 1.0))] == [20, 20, 10]
    assert [len(block.clips) for block in blocks_of(0, clips(3, 60.0))] == [1, 1, 1]


def blocks_of_videos(*lengths_s: float) -> list[list[tuple[int, int]]]:
    """The blocks of videos of these lengths, in clips of 10 s: (number of a video, how many clips of it) in each."""
    found = [clip for n, length_s in enumerate(lengths_s) for clip in clips_of(video(n), FixedStride().spans(length_s))]
    blocks = blocks_of(0, found)
    assert [clip for block in blocks for clip in block.clips] == found
    numbers = {video(n).video_id: n for n in range(len(lengths_s))}
    return [list(Counter(numbers[clip.video_id] for clip in block.clips).items()) for block in blocks]


def test_blocks_end_where_a_video_ends_that_the_next_would_not_fit_behind():
    many = [10.0] * 300
    assert blocks_of_videos(50.0, 60.0, *many)[:3] == [
        [(0, 5)],
        [(1, 6), (2, 1), (3, 1)],
        [(n, 1) for n in range(4, 12)],
    ]
    assert blocks_of_videos(30.0, 60.0, *many)[:2] == [[(0, 3), (1, 5)], [(1, 1), *((n, 1) for n in range(2, 9))]]
    assert blocks_of_videos(200.0, 60.0, *many)[:4] == [[(0, 8)], [(0, 8)], [(0, 4)], [(1, 6), (2, 1), (3, 1)]]
    assert blocks_of_videos(*[80.0] * 40) == [[(n, 8)] for n in range(40)]


def test_blocks_do_not_end_before_a_video_that_they_would_not_cut():
    assert blocks_of_videos(*[28.0] * 100)[:2] == [[(0, 3), (1, 3), (2, 3)], [(3, 3), (4, 3), (5, 3)]]
    assert blocks_of_videos(*[9.0] * 300)[0] == [(n, 1) for n in range(9)]


def test_blocks_full_of_short_clips_end_with_a_video_too():
    found = [clip for n in range(10) for clip in clips_of(video(n), FixedStride(0.5).spans(20.0))]
    assert [len(block.clips) for block in blocks_of(0, found)] == [40] * 10


@pytest.mark.parametrize(
    "sampling",
    [
        FrameRate(fps=2, resize=Resize(size=232, crop=(224, 224))),
        FrameRate(fps=2),
        FrameWindows(frames=16, fps=15, resize=Resize(size=(128, 171), crop=(112, 112))),
        Audio(sample_rate=16000),
    ],
)
def test_slices_cover_the_block_and_stay_under_the_limit(sampling):
    spans = [(clip.start_s, clip.end_s) for clip in clips(64, 10.0)]
    slices = slices_of([sampling.nbytes(*span, (720, 1280)) for span in spans])
    assert [index for cut in slices for index in range(cut.first, cut.stop)] == list(range(64))
    assert [cut.index for cut in slices] == list(range(slices[0].count))
    for cut in slices:
        used = sum(sampling.nbytes(*span, (720, 1280)) for span in spans[cut.first : cut.stop])
        assert used <= SLICE_BYTES or cut.stop - cut.first == 1


@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        (None, (720, 1280)),
        (Resize(size=224, crop=(200, 200)), (200, 200)),
        (Resize(size=224), (224, 398)),
        (Resize(size=(128, 171)), (128, 171)),
    ],
)
def test_frame_size_follows_the_resize(resize, expected):
    assert frame_size(resize, (720, 1280)) == expected


def test_sample_times_are_the_same_whatever_the_clip_before():
    assert list(FrameRate(fps=2).times_s(10.0, 12.0)) == [10.0, 10.5, 11.0, 11.5]
    assert list(FrameRate(fps=2).times_s(10.0, 10.1)) == [10.0]


def test_windows_are_evenly_spaced_and_start_inside_the_clip():
    times = FrameWindows(frames=16, fps=16, max_windows=3).times_s(0.0, 9.0)
    assert times.shape == (3, 16)
    assert list(times[:, 0]) == [1.0, 4.0, 7.0]
    short = FrameWindows(frames=16, fps=16).times_s(5.0, 5.25)
    assert short.shape == (1, 16)
    assert short[0, 0] == 5.0
