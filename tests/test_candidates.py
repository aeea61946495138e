"""Which clips are worth comparing by their hashes: few among many, however many copies and titles there are."""

import numpy as np
import pytest

from vidray.duplicates import candidates
from vidray.duplicates.candidates import by_hashes
from vidray.duplicates.pictures import Video

PICTURES = 40


def video(name, *clips):
    """A video whose clips have these hashes."""
    hashes = [np.asarray(clip, np.uint64) for clip in clips]
    count = sum(map(len, hashes))
    return Video(
        video_id=name,
        uri=f"/{name}.mp4",
        part=0,
        clip_ids=tuple(f"{name}-{place}" for place in range(len(clips))),
        spans_s=np.array([[10.0 * place, 10.0 * place + 10] for place in range(len(clips))]),
        start_s=0.0,
        step_s=0.25,
        clips=np.repeat(np.arange(len(clips)), [len(clip) for clip in hashes]),
        hashes=np.concatenate(hashes),
        taken=np.arange(count),
        content=1.0,
    )


def random_hashes(random, count=PICTURES):
    return random.integers(0, 1 << 63, count, dtype=np.uint64)


def flipped(random, hashes, bits):
    """The hashes with so many bits of each the other way."""
    places = np.stack([random.permutation(64)[:bits] for _ in hashes]).astype(np.uint64)
    return hashes ^ np.bitwise_or.reduce(np.uint64(1) << places, axis=1)


@pytest.mark.parametrize("blocks", candidates.BLOCKS)
def test_hashes_that_differ_in_three_bits_are_found_by_keys_of_any_length(monkeypatch, blocks):
    monkeypatch.setattr(candidates, "BLOCKS", {blocks: candidates.BLOCKS[blocks]})
    random = np.random.default_rng(blocks)
    originals = [random_hashes(random, 1) for _ in range(300)]
    copies = [flipped(random, one, 3) for one in originals]
    found = by_hashes([video(f"v{place}", one) for place, one in enumerate([*originals, *copies])])
    assert {(place, 300 + place) for place in range(300)} == found.keys()


def test_keys_are_so_long_that_few_hashes_meet_by_chance():
    for count in (1_000, 500_000, 10_000_000, 250_000_000, 10_000_000_000):
        bits = min(int(mask).bit_count() for mask in candidates._masks(count)[0])
        assert count / 2**bits <= candidates.BUCKET_MEAN, count


def test_copies_are_found_among_so_many_videos_that_every_short_key_is_common(monkeypatch):
    """More hashes than keys of sixteen bits keep apart: here each stands for a hundred."""
    monkeypatch.setattr(candidates, "BUCKET_MEAN", candidates.BUCKET_MEAN / 100)
    random = np.random.default_rng(1)
    copied = random_hashes(random)
    videos = [video(f"v{place}", random_hashes(random)) for place in range(2_000)]
    videos[3] = video("v3", random_hashes(random), copied)
    videos[1_500] = video("v1500", flipped(random, copied, 2))
    assert by_hashes(videos)[3, 1_500].keys() == {(1, 0)}


def test_what_is_copied_more_often_than_a_bucket_holds_is_a_chain_of_copies():
    random = np.random.default_rng(2)
    copied = random_hashes(random)
    count = 5 * candidates.BUCKET_MOST
    videos = [video(f"v{place}", random_hashes(random), flipped(random, copied, place % 2)) for place in range(count)]
    found = by_hashes(videos)
    assert all(pairs.keys() == {(1, 1)} for pairs in found.values())
    reached, waiting = {0}, [0]
    while waiting:
        place = waiting.pop()
        near = {other for pair in found if place in pair for other in pair} - reached
        reached |= near
        waiting += near
    assert len(reached) == count


def test_a_title_that_many_videos_have_makes_no_candidates():
    random = np.random.default_rng(3)
    title = random_hashes(random, 3)
    count = 2 * candidates.BUCKET_MOST
    videos = [video(f"v{place}", np.concatenate([title, random_hashes(random, 37)])) for place in range(count)]
    assert by_hashes(videos) == {}


def test_the_clips_of_one_video_are_no_candidates():
    hashes = random_hashes(np.random.default_rng(4))
    assert by_hashes([video("v", hashes, hashes), video("w", hashes[:1])]).keys() == {(0, 1)}
    assert by_hashes([]) == {}
