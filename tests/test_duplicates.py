"""Copies are found with their borders, and nothing else is; what is written of them follows the store."""

from __future__ import annotations

import csv
import importlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filling import filled
from labeled_stores import TABLE, write_store

import vidray
from vidray.cli import main
from vidray.duplicates import alignment
from vidray.duplicates.alignment import Pictures, align
from vidray.duplicates.groups import Group, Match, Member, Quality, grouped, united_s
from vidray.duplicates.pictures import Video
from vidray.duplicates.table import redundant_clips, write_groups
from vidray.errors import UsageError
from vidray.extractors.vision.phash import PHash
from vidray.planning import FixedStride
from vidray.store import ERRORS, Store, part_file
from vidray.store.changes import retire


def scene(seed: int, length: int, *, moving: float = 60.0) -> np.ndarray:
    """A scene that stands still but for blobs that wander: uint8 (T, 32, 32); one seed is one place and one time."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    places = np.cumsum(draw.normal(0, 1.5, (length, 3, 2)), axis=0) + draw.uniform(4, 28, (3, 2))
    blobs = np.exp(-((y - places[..., :1, None]) ** 2 + (x - places[..., 1:, None]) ** 2) / 20).sum(axis=1)
    return np.clip(studio() + moving * blobs, 0, 255).astype(np.uint8)


def studio() -> np.ndarray:
    coarse = np.random.default_rng(0).uniform(40, 180, (4, 4))
    return np.kron(coarse, np.ones((8, 8)))


def noisy(pictures: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 3, pictures.shape)
    return np.clip(0.9 * pictures + 8 + noise, 0, 255).astype(np.uint8)


def aligned(one: np.ndarray, other: np.ndarray) -> alignment.Alignment | None:
    sides = [Pictures(whole=pictures, content=pictures) for pictures in (one, other)]
    return align(*sides, slice(0, len(one)), slice(0, len(other)))


@pytest.mark.parametrize("shift", [0, 7, 20])
def test_a_copy_is_found_where_it_is(shift: int) -> None:
    original = scene(1, 40)
    found = aligned(original, noisy(original[shift : shift + 20], 5))
    assert found is not None
    assert (found.first, found.second) == ((shift, shift + 20), (0, 20))
    assert found.reaches(0.6)


@pytest.mark.parametrize("seed", range(2, 12))
def test_another_moment_of_one_studio_is_no_copy(seed: int) -> None:
    found = aligned(scene(1, 40), noisy(scene(seed, 40), 5))
    assert found is None or not found.reaches(0.6)


def test_a_copy_inside_another_moment_of_its_scene_ends_where_it_ends() -> None:
    original, host = scene(1, 40), scene(2, 60)
    host[25:45] = original[10:30]
    found = aligned(original, noisy(host, 5))
    assert found is not None
    assert np.abs(np.subtract(found.first, (10, 30))).max() <= 2
    assert found.shift == 15


def test_a_crop_is_seen_through() -> None:
    original = scene(3, 30)
    cut = original[:, 2:30, 1:29]
    resized = np.stack([alignment.within(cut_as(picture), (0, 0, 1, 1)) for picture in cut])
    found = aligned(original, resized[:, 0])
    assert found is not None
    assert (found.first, found.second) == ((0, 30), (0, 30))
    assert found.reaches(0.6)


def cut_as(picture: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BILINEAR))[None]


def test_stills_are_copies_where_they_are_the_same() -> None:
    still = np.repeat(scene(4, 1), 20, axis=0)
    other = np.repeat(scene(5, 1), 20, axis=0)
    same, different = aligned(still, still.copy()), aligned(still, other)
    assert same is not None
    assert same.reaches(0.6)
    assert different is None or not different.reaches(0.6)


def quality(video: str, length_s: float, pixels: float = 100.0) -> Quality:
    return Quality(length_s=length_s, pixels=pixels, content=1.0, bits_per_s=1.0, uri=video)


def match(one: str, one_s: tuple[float, float], other: str, other_s: tuple[float, float]) -> Match:
    return Match(first=one, first_s=one_s, second=other, second_s=other_s, score=0.9)


def told(groups: list[Any]) -> list[tuple[str, str, set[Any]]]:
    return [(g.keep, g.why, {(m.video_id, m.span_s, m.of_s) for m in g.members}) for g in groups]


def test_the_longest_is_kept_and_a_trim_is_told_by_it() -> None:
    qualities = {"a": quality("a", 30), "b": quality("b", 10), "c": quality("c", 10)}
    matches = [match("a", (5, 15), "b", (0, 10)), match("b", (0, 10), "c", (0, 10)), match("a", (0, 30), "d", (0, 30))]
    (found,) = grouped(matches, qualities | {"d": quality("d", 30, pixels=50)})
    assert (found.keep, found.why) == ("a", "largest")
    # what is known of b alone is told by a
    assert told([found])[0][2] == {("d", (0, 30), (0, 30)), ("b", (0, 10), (5, 15)), ("c", (0, 10), (5, 15))}


def test_of_two_that_are_as_large_the_one_without_borders_is_kept() -> None:
    plain = quality("a", 10, pixels=100)
    framed = Quality(length_s=10, pixels=104, content=0.7, bits_per_s=9.0, uri="b")
    (found,) = grouped([match("a", (0, 10), "b", (0, 10))], {"a": plain, "b": framed})
    assert (found.keep, found.why) == ("a", "best quality")


def test_two_copies_in_one_video_are_two_groups() -> None:
    qualities = {name: quality(name, 60 if name == "host" else 20) for name in ("host", "a", "b")}
    matches = [match("host", (0, 5), "a", (3, 8)), match("host", (30, 36), "b", (0, 6))]
    found = grouped(matches, qualities)
    assert {(g.keep, m.video_id) for g in found for m in g.members} == {("host", "a"), ("host", "b")}
    assert len(found) == 2


def test_what_the_longest_has_none_of_is_told_too() -> None:
    """The trailer has two seconds of each copy of the reel; that these are one all through is told by one of them."""
    qualities = {
        "trailer": quality("trailer", 30),
        "reel": quality("reel", 10, pixels=200),
        "copy": quality("copy", 10),
    }
    of_reel, of_copy = match("reel", (0, 2), "trailer", (20, 22)), match("copy", (0, 2), "trailer", (20, 22))
    whole = match("copy", (0, 10), "reel", (0, 10))
    for some in ([whole, of_reel], [of_reel, of_copy, whole]):
        found = told(
            grouped([*some, match("trailer", (0, 30), "other", (0, 30))], qualities | {"other": quality("other", 30)})
        )
        assert ("reel", "largest", {("copy", (0, 10), (0, 10))}) in found
        (by_trailer,) = (members for keep, _, members in found if keep in ("other", "trailer"))
        assert ("reel", (0, 2), (20, 22)) in by_trailer
        assert len(found) == 2


def test_a_copy_of_what_a_longer_one_has_not_is_kept_with_its_own() -> None:
    """The middle one repeats the film at its start; its end is in another video, which has nothing of the film."""
    qualities = {name: quality(name, length_s) for name, length_s in (("film", 60), ("middle", 30), ("end", 20))}
    matches = [match("film", (40, 60), "middle", (0, 20)), match("middle", (10, 30), "end", (0, 20))]
    assert told(grouped(matches, qualities)) == [
        ("middle", "longest", {("film", (40, 60), (0, 20)), ("end", (0, 20), (10, 30))})
    ]
    more = [*matches, match("film", (0, 60), "same", (0, 60))]
    assert told(grouped(more, qualities | {"same": quality("same", 60)})) == [
        (
            "film",
            "first of equals",
            {("same", (0, 60), (0, 60)), ("middle", (0, 20), (40, 60)), ("end", (0, 10), (50, 60))},
        ),
        ("middle", "first of equals", {("end", (0, 20), (10, 30))}),
    ]


def test_of_all_copies_of_a_moment_one_is_kept() -> None:
    """What one group keeps and another tells stays."""
    whole = {"a": (0.0, 5.0), "b": (0.0, 5.0), "c": (0.0, 5.0)}
    matches = [match("a", (0, 4), "b", (0, 4)), match("b", (0, 5), "c", (0, 5)), match("a", (0, 4), "c", (0, 4))]
    clips = [{"clip_id": v, "video_id": v, "start_s": s[0], "end_s": s[1]} for v, s in whole.items()]
    for best in whole:
        groups = grouped(matches, {name: quality(name, 5, pixels=200 if name == best else 100) for name in whole})
        gone = redundant_clips(clips, groups)
        assert not {"b", "c"} <= set(gone), "the last second of b and c is nowhere else"
        assert "c" in gone or "b" in gone


def test_a_clip_with_some_of_what_is_kept_stays() -> None:
    """Most of it repeats another clip; its first seconds are what a group keeps, and its copies go."""
    groups = [
        Group(keep="a", span_s=(0, 1.8), members=(member("c", (0, 1.8), (0, 1.8)),), why="longest"),
        Group(keep="b", span_s=(0, 60), members=(member("a", (1.8, 10), (5, 13.2)),), why="longest"),
    ]
    clips = [{"clip_id": v, "video_id": v, "start_s": 0.0, "end_s": end_s} for v, end_s in (("a", 10.0), ("c", 2.0))]
    assert redundant_clips(clips, groups) == {"c"}


def member(video: str, span_s: tuple[float, float], of_s: tuple[float, float]) -> Member:
    return Member(video_id=video, span_s=span_s, of_s=of_s, score=0.9)


@pytest.mark.parametrize("shortest_s", [1.0, 0.1])
def test_whatever_matches_there_are_all_are_told_and_no_moment_is_lost(shortest_s: float) -> None:
    for seed in range(150):
        chance = random.Random(seed)
        lengths = {name: chance.randint(5, 60) for name in "abcdef"[: chance.randint(2, 6)]}
        qualities = {name: quality(name, s, pixels=chance.choice((100, 110, 200))) for name, s in lengths.items()}
        matches = []
        for _ in range(chance.randint(1, 12)):
            one, other = chance.sample(sorted(lengths), 2)
            length_s = chance.uniform(shortest_s, min(lengths[one], lengths[other], chance.choice((3, 20, 60))))
            first_s, second_s = (chance.uniform(0, lengths[name] - length_s) for name in (one, other))
            matches.append(match(one, (first_s, first_s + length_s), other, (second_s, second_s + length_s)))
        groups = grouped(matches, qualities)
        assert len({(group.keep, group.span_s) for group in groups}) == len(groups)
        assert all(any(_tells(group, one) for group in groups) for one in matches if _length_s(one.first_s) >= 1)
        assert _lost_s(groups, lengths) < 0.1, f"seed {seed}"


def _length_s(span_s: tuple[float, float]) -> float:
    return span_s[1] - span_s[0]


def _tells(group: Any, one: Match) -> bool:
    def lacks_s(video: str, span_s: tuple[float, float]) -> float:
        some = [(group.keep, group.span_s), *((member.video_id, member.span_s) for member in group.members)]
        shared = [(max(span_s[0], told_s[0]), min(span_s[1], told_s[1])) for name, told_s in some if name == video]
        return _length_s(span_s) - united_s(shared)

    return lacks_s(one.first, one.first_s) < 1 and lacks_s(one.second, one.second_s) < 1


def _lost_s(groups: list[Any], lengths: dict[str, int]) -> float:
    """The most that any group loses when the redundant clips, of two to ten seconds, are left out of all videos."""
    clips = [
        {"clip_id": f"{name} {start}", "video_id": name, "start_s": float(start), "end_s": float(min(start + step, s))}
        for step, (name, s) in zip((2, 5, 10, 10, 5, 2), lengths.items(), strict=False) for start in range(0, s, step)
    ]  # fmt: skip
    gone = redundant_clips(clips, groups)
    kept = {name: [c for c in clips if c["video_id"] == name and c["clip_id"] not in gone] for name in lengths}
    most_s = 0.0
    for group in groups:
        there = [(group.keep, group.span_s, group.span_s)] + [(m.video_id, m.span_s, m.of_s) for m in group.members]
        pieces = [
            (max(clip["start_s"], span_s[0]) + of_s[0] - span_s[0], min(clip["end_s"], span_s[1]) + of_s[0] - span_s[0])
            for name, span_s, of_s in there for clip in kept[name]
        ]  # fmt: skip
        most_s = max(most_s, _length_s(group.span_s) - united_s([piece for piece in pieces if _length_s(piece) > 0]))
    return most_s


def test_nothing_alike_is_no_group() -> None:
    assert grouped([], {}) == []


@pytest.fixture(scope="module")
def planted(repository: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repository / "benchmarks")
        return importlib.import_module("planted"), importlib.import_module("duplicates")


@pytest.fixture(scope="module")
def copies(planted: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, list[Any]]]:
    folder = tmp_path_factory.mktemp("copies")
    making, _ = planted
    made = making.plant(folder / "corpus", making.pieces_of(making.music_video(), 2), seed=1)
    yield filled(folder / "store", folder / "corpus", {"phash": PHash()}, FixedStride(10.0)), made
    shutil.rmtree(folder)


@pytest.fixture
def store(copies: tuple[Store, list[Any]], tmp_path: Path) -> Store:
    return Store(str(shutil.copytree(copies[0].url, tmp_path / "store")))


@pytest.mark.slow
def test_planted_copies_are_found_and_followed(copies, planted, store, tmp_path, capsys) -> None:
    _, bench = planted
    assert main(["duplicates", store.url, "--json", "--keep", str(tmp_path / "keep.csv")]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(answer) == ["groups"]
    for group in answer["groups"]:
        assert list(group) == ["keep", "members"]
        assert list(group["keep"]) == ["clip_id", "uri", "start_s", "end_s"]
        assert all(list(one) == ["clip_id", "uri", "start_s", "end_s", "score", "of"] for one in group["members"])

    found = vidray.find_duplicates(store.url)
    relations = list(bench.related(found.groups))
    files = {one.file: one for one in copies[1]}
    assert not [relation for relation in relations if bench.is_false(relation, files)]
    # without embeddings, crops have no candidates
    for one in copies[1]:
        if one.kind not in ("piece", "cropped"):
            error = bench.border_error(one, f"piece-{one.piece:03d}.mp4", relations)
            assert error is not None, one.file
            assert error <= bench.BORDER_S, one.file
    check_manifest(store, tmp_path / "keep.csv")
    check_table(store)


def check_manifest(store: Store, path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["uri", "start_s", "end_s"]
    assert 2 <= len(rows) < sum(store.rows("clips", part) for part in store.parts("clips"))


def check_table(store: Store) -> None:
    """What is written agrees with the plan, and follows it."""
    assert vidray.verify(store.url).is_whole
    rows = store.read("duplicates/copies", 0).to_pylist()
    clips = {row["clip_id"]: row for row in store.read("clips", 0).to_pylist()}
    for row in rows:
        clip, kept = clips[row["clip_id"]], clips[row["of_clip_id"]]
        assert clip["start_s"] <= row["start_s"] < row["end_s"] <= clip["end_s"]
        assert row["of_end_s"] - row["of_start_s"] == pytest.approx(row["end_s"] - row["start_s"])
        assert (row["video_id"], row["of_video_id"]) == (clip["video_id"], kept["video_id"])
        assert row["keep"] == (row["video_id"] == row["of_video_id"])
    assert vidray.status(store.url).duplicates == {"copies": len(rows)}
    gone = next(row["of_video_id"] for row in rows if not row["keep"])
    retire(store, [gone])
    left = store.read("duplicates/copies", 0).to_pylist()
    assert 0 < len(left) < len(rows)
    assert not [row for row in left if gone in (row["video_id"], row["of_video_id"])]
    found = vidray.verify(store.url)
    assert (found.stale, found.orphaned, found.damaged) == (1, 0, 0)
    vidray.find_duplicates(store.url)
    assert vidray.verify(store.url).is_whole
    place = Path(store.folder.path(part_file("duplicates/copies", 0)))
    place.write_bytes(place.read_bytes()[:-9])
    assert vidray.verify(store.url).damaged
    vidray.find_duplicates(store.url)
    assert vidray.drop(store.url, "duplicates/copies").folders == ("duplicates/copies",)
    assert vidray.verify(store.url).is_whole


def test_a_clip_that_repeats_two_stretches_has_a_row_of_each_and_a_copy_in_the_kept_video_is_not_kept(tmp_path) -> None:
    made = write_store(tmp_path / "a store", np.eye(4, 6, dtype=np.float32), clips_a_video=2)
    made.write(f"errors/{TABLE}", 0, ERRORS.empty_table(), ERRORS)
    clips = made.read("clips", 0).to_pylist()
    videos = [
        Video(
            video_id=name, uri=f"/media/{name[1]}.mp4", part=0, start_s=0, step_s=0.25, content=1.0,
            clip_ids=tuple(row["clip_id"] for row in clips if row["video_id"] == name),
            spans_s=np.array([(row["start_s"], row["end_s"]) for row in clips if row["video_id"] == name]),
            clips=np.empty(0, np.int64), hashes=np.empty(0, np.uint64), taken=np.empty(0, np.int64),
        )
        for name in ("v0", "v1")
    ]  # fmt: skip
    members = (
        member("v0", (12, 15), (0, 3)),
        member("v1", (2, 12), (0, 10)),
        member("v1", (9, 14), (5, 10)),
    )
    write_groups(made, "copies", [Group(keep="v0", span_s=(0, 10), members=members, why="longest")], videos)
    parts = {"0": made.content_hash(TABLE, 0)}
    spec = {"features": TABLE, "embeddings": TABLE, "threshold": 0.8, "parts": parts}
    made.write_duplicates_spec("copies", spec)
    rows = made.read("duplicates/copies", 0).to_pylist()
    assert [(row["clip_id"], row["start_s"]) for row in rows if row["keep"]] == [("clip00000", 0.0)]
    assert [row["of_start_s"] for row in rows if (row["clip_id"], row["start_s"]) == ("clip00003", 10.0)] == [8.0, 6.0]
    assert not vidray.verify(made.url).duplicated
    made.write_duplicates_spec("copies", {**spec, "parts": {}})
    (note,) = [note for note in vidray.verify(made.url).notes if note.startswith("duplicates/copies:")]
    assert note.endswith(f"run vidray duplicates '{made.url}' -x {TABLE} --threshold 0.8 --name copies")


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"threshold must be in \(0, 1\], got 2"):
        vidray.find_duplicates(str(tmp_path), threshold=2)
    with pytest.raises(UsageError, match="no vidray store there"):
        vidray.find_duplicates(str(tmp_path))


def test_seconds_that_two_stretches_share_count_once() -> None:
    """Of 25 s, 16 repeat something: 9 s would be lost with the clip."""
    members = [Member(video_id="b", span_s=span_s, of_s=span_s, score=0.9) for span_s in ((0.0, 10.0), (6.0, 16.0))]
    groups = [Group(keep="a", span_s=(0.0, 20.0), members=(member,), why="longest") for member in members]
    clip = {"clip_id": "b0", "video_id": "b", "start_s": 0.0, "end_s": 25.0}
    assert redundant_clips([clip], groups) == set()
    assert redundant_clips([{**clip, "end_s": 17.0}], groups) == set()
    assert redundant_clips([{**clip, "end_s": 16.4}], groups) == {"b0"}


def test_less_than_a_second_of_what_is_kept_keeps_its_clip() -> None:
    """The copies of these moments go, so that they would be nowhere."""
    groups = [
        Group(keep="a", span_s=(9.4, 30), members=(member("c", (9.4, 30), (9.4, 30)),), why="longest"),
        Group(keep="b", span_s=(0, 60), members=(member("a", (0, 9.4), (5, 14.4)),), why="longest"),
    ]
    clip = {"clip_id": "a0", "video_id": "a", "start_s": 0.0, "end_s": 10.0}
    assert redundant_clips([clip], groups) == set()
    assert redundant_clips([{**clip, "end_s": 9.4}], groups) == {"a0"}
