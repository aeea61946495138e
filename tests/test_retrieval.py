"""Search: a copy finds its original, whatever it is asked by; what cannot answer says why in one line."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from extractors_for_tests import Loudness, MeanColour
from media_files import packaged

import vidray
from vidray.decode import VideoReader, probe
from vidray.errors import IndexFileError, MediaError, StoreError, UsageError
from vidray.extractors import Extractor, describe, resolve, slug
from vidray.media import ClipInput, Video, with_context
from vidray.pipeline import build_index
from vidray.planning import FixedStride, clips_of
from vidray.retrieval.search import open_index, search
from vidray.store import CLIPS, VIDEOS, Store, features_schema

CLIP_S = 2.0
BIKES, BUNNY, CARPHONE = (packaged(f"{name}.mp4") for name in ("bikes", "bigbuckbunny", "carphone_pristine"))
FRAMES, AUDIO = "efficientnet_lite0", "yamnet"


def write_features(store: Store, extractor: Extractor, paths: list[Path], part: int = 0) -> None:
    """A part as the pipeline publishes it: real decoding, the real network, rows in plan order."""
    table = slug(extractor.name)
    store.write_spec(table, describe(extractor))
    extract, planner = extractor.load("cpu"), FixedStride(CLIP_S)
    clips, videos, rows = [], [], []
    for path in paths:
        with path.open("rb") as file:
            info = probe(file, str(path))
            video = Video(video_id=path.stem, uri=str(path), size_bytes=None, fingerprint="")
            videos.append({"video_id": path.stem, "uri": str(path), "duration_s": info.duration_s, "width": info.width})
            ((name, sampling),) = extractor.inputs.items()
            with VideoReader(file, str(path)) as reader:
                for clip in clips_of(video, planner.spans(info.duration_s)):
                    span = with_context(sampling, clip.start_s, clip.end_s, info.duration_s)
                    request = sampling.request(*span)
                    answer = reader.read([request], clip.start_s, clip.end_s).samples[request]
                    samples = None if answer is None else sampling.collect(answer, *span)
                    columns = {} if samples is None else extract([ClipInput(clip=clip, values={name: samples})])
                    embedding = np.asarray(columns["embedding"])[0].tolist() if columns else None
                    clips.append({name: getattr(clip, name) for name in CLIPS.names if hasattr(clip, name)})
                    rows.append({**clips[-1], "embedding": embedding})
    schema = features_schema(pa.schema([extractor.schema.field("embedding")]))
    store.write("clips", part, pa.Table.from_pylist(clips, CLIPS), CLIPS)
    store.write("videos", part, pa.Table.from_pylist(videos, VIDEOS), VIDEOS)
    store.write(f"features/{table}", part, pa.Table.from_pylist(rows, schema), schema)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """The three videos by a frame and an audio network, both indexed."""
    store = Store(str(tmp_path_factory.mktemp("corpus") / "store"))
    store.write_config(FixedStride(CLIP_S).config)
    for name in (FRAMES, AUDIO):
        write_features(store, resolve(name), [BIKES, BUNNY, CARPHONE])
        info = build_index(store.url, extractor=name)
        assert (info.rows, info.left_out["null"]) == ((10, 0) if name == FRAMES else (3, 7))
    return store.url


@pytest.fixture(scope="module")
def copy_of_bikes(tmp_path_factory) -> Path:
    """Half the size, another codec and container, 12.5 frames a second, and of poor quality."""
    path = tmp_path_factory.mktemp("copies") / "copy.mkv"
    with av.open(str(BIKES)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 320, 136, "yuv420p", 300_000
        for number, frame in enumerate(source.decode(video=0)):
            if number % 2 == 0:
                smaller = frame.reformat(320, 136, "yuv420p")
                smaller.pts, smaller.time_base = number, Fraction(1, 25)
                target.mux(stream.encode(smaller))
        target.mux(stream.encode(None))
    return path


def copy_audio(path: Path, codec: str, rate: int) -> Path:
    """The bunny's audio alone, coded again."""
    with av.open(str(BUNNY)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(stream.format, "mono", rate)
        for frame in [*source.decode(audio=0), None]:
            for piece in resampler.resample(frame):
                target.mux(stream.encode(piece))
        target.mux(stream.encode(None))
    return path


def clip_of(store: str, path: Path, start_s: float) -> str:
    clips = Store(store).read("clips", 0).to_pylist()
    return next(clip["clip_id"] for clip in clips if clip["uri"] == str(path) and clip["start_s"] == start_s)


@pytest.mark.parametrize("start_s", [0.0, 2.0, 4.0, 6.0, 8.0])
def test_a_span_of_a_coded_copy_finds_its_original_first(store, copy_of_bikes, start_s):
    found = search(store, video=str(copy_of_bikes), at=(start_s, start_s + 2))
    first, second = found.hits[:2]
    assert (first.uri, first.start_s, first.end_s) == (str(BIKES), start_s, start_s + 2)
    assert first.clip_id == clip_of(store, BIKES, start_s)
    assert first.score > 0.8
    assert first.score > second.score
    assert found.query == {"video": str(copy_of_bikes), "at": [start_s, start_s + 2]}
    assert (found.extractor, found.notes) == (FRAMES, ())


def test_a_whole_video_scores_a_clip_by_its_best(store, copy_of_bikes):
    found = search(store, video=str(copy_of_bikes), k=10)
    assert sorted(hit.start_s for hit in found.hits[:5]) == [0, 2, 4, 6, 8]
    assert {hit.uri for hit in found.hits[:5]} == {str(BIKES)}
    assert len({hit.clip_id for hit in found.hits}) == 10
    spans = [search(store, video=str(copy_of_bikes), at=(s, s + 2), k=10).hits for s in range(0, 10, 2)]
    best = {}
    for hit in (hit for hits in spans for hit in hits):
        best[hit.clip_id] = max(best.get(hit.clip_id, -1), hit.score)
    assert {hit.clip_id: hit.score for hit in found.hits} == pytest.approx(best, abs=1e-5)
    assert [hit.score for hit in found.hits] == sorted(best.values(), reverse=True)


@pytest.mark.parametrize(("name", "codec", "rate"), [("a.wav", "pcm_s16le", 16000), ("a.mp3", "libmp3lame", 22050)])
def test_a_coded_copy_of_a_audio_finds_its_original_first(store, tmp_path, name, codec, rate):
    copy = copy_audio(tmp_path / name, codec, rate)
    found = search(store, audio=str(copy), k=5)
    assert found.extractor == AUDIO
    assert [hit.uri for hit in found.hits] == [str(BUNNY)] * 3
    assert found.hits[-1].score > 0.9
    for start_s in (0.0, 2.0):
        hits = search(store, video=str(copy), at=(start_s, start_s + 2), extractor=AUDIO).hits
        assert hits[0].start_s == start_s
        assert hits[0].score > 0.9


def test_a_frame_finds_the_clip_that_it_is_from(store, tmp_path):
    with av.open(str(BIKES)) as source:
        wanted = {10: 0.0, 100: 4.0, 160: 6.0, 215: 8.0}
        for number, frame in enumerate(source.decode(video=0)):
            if number not in wanted:
                continue
            with av.open(str(tmp_path / f"{number}.jpg"), "w", format="image2") as target:
                stream = target.add_stream("mjpeg", rate=1)
                stream.width, stream.height, stream.pix_fmt = 480, 204, "yuvj420p"
                target.mux([*stream.encode(frame.reformat(480, 204, "yuvj420p")), *stream.encode(None)])
    for number, start_s in wanted.items():
        found = search(store, image=str(tmp_path / f"{number}.jpg"), k=1)
        assert found.extractor == FRAMES
        assert (found.hits[0].uri, found.hits[0].start_s) == (str(BIKES), start_s)


def test_a_clip_of_the_store_finds_all_but_itself(store):
    clip = clip_of(store, BIKES, 4.0)
    found = search(store, clip=clip, extractor=FRAMES, k=100)
    assert len(found.hits) == 9
    assert clip not in {hit.clip_id for hit in found.hits}
    by_span = search(store, video=str(BIKES), at=(4.0, 6.0), k=100).hits
    assert by_span[0].clip_id == clip
    assert [hit.clip_id for hit in found.hits] == [hit.clip_id for hit in by_span[1:]]
    assert len(search(store, clip=clip, extractor=FRAMES, k=3).hits) == 3


def test_a_filter_reaches_clips_and_videos(store):
    found = search(store, video=str(BIKES), where="duration_s > 6", k=50)
    assert {hit.uri for hit in found.hits} == {str(BIKES)}
    found = search(store, video=str(BIKES), where="width = 1280 AND clip_index = 1")
    assert [(hit.uri, hit.start_s) for hit in found.hits] == [(str(BUNNY), 2.0)]
    assert found.query["where"] == "width = 1280 AND clip_index = 1"
    clip = clip_of(store, BIKES, 4.0)
    assert search(store, clip=clip, extractor=FRAMES, where=f"clip_id = '{clip}'").hits == []
    with pytest.raises(UsageError, match="nonsense"):
        search(store, video=str(BIKES), where="nonsense > 3")


def test_queries_that_cannot_be_meant(store, tmp_path):
    clip = clip_of(store, BIKES, 0.0)
    with pytest.raises(UsageError, match="exactly one of clip, video, image, audio, text, vectors, got none"):
        search(store)
    with pytest.raises(UsageError, match="got video, image"):
        search(store, video="a", image="b")
    with pytest.raises(UsageError, match="goes with a video"):
        search(store, clip=clip, at=(0, 1))
    with pytest.raises(UsageError, match="efficientnet_lite0, yamnet can answer this"):
        search(store, clip=clip_of(store, BUNNY, 0.0))
    # which has no audio
    assert search(store, clip=clip).extractor == FRAMES
    with pytest.raises(
        UsageError, match="no index of 'resnet', there are efficientnet_lite0, yamnet; run vidray index"
    ):
        search(store, clip=clip, extractor="resnet")
    with pytest.raises(UsageError, match="no clip 'nobody'"):
        search(store, clip="nobody", extractor=FRAMES)
    with pytest.raises(UsageError, match="has no embedding"):
        search(store, clip=clip, extractor=AUDIO)
    with pytest.raises(UsageError, match="at least 1"):
        search(store, clip=clip, extractor=FRAMES, k=0)
    with pytest.raises(UsageError, match="no such file"):
        search(store, video=str(tmp_path / "missing.mp4"))
    with pytest.raises(UsageError, match="a folder"):
        search(store, video=str(tmp_path))
    with pytest.raises(
        UsageError, match="yamnet is about audio, it cannot be asked by image; ask another: -x efficientnet_lite0"
    ):
        search(store, image=str(BIKES), extractor=AUDIO)
    with pytest.raises(UsageError, match="efficientnet_lite0 is about frames, it cannot be asked by audio"):
        search(store, audio=str(BUNNY), extractor=FRAMES)


@pytest.mark.parametrize("at", [(-1, 2), (2, 2), (3, 2), (9, 10.6), (10, 10.2), (20, 21), (float("nan"), 2)])
def test_a_span_outside_the_video_is_refused(store, at):
    with pytest.raises(UsageError, match=r"must lie in 0-10\.000 s"):
        search(store, video=str(BIKES), at=at)


def test_a_query_without_what_the_extractor_needs(store, tmp_path):
    with pytest.raises(MediaError, match="no audio in this file, and yamnet hears nothing else"):
        search(store, video=str(BIKES), extractor=AUDIO)
    audio = copy_audio(tmp_path / "a.wav", "pcm_s16le", 16000)
    with pytest.raises(MediaError, match="no frame in this file"):
        search(store, video=str(audio), extractor=FRAMES)
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(MediaError, match=r"text\.mp4"):
        search(store, video=str(tmp_path / "text.mp4"))


def test_a_store_without_tables_or_indexes(tmp_path):
    with pytest.raises(UsageError, match="no vidray store there"):
        search(str(tmp_path), video=str(BIKES))
    Store(str(tmp_path)).write_config(FixedStride(CLIP_S).config)
    with pytest.raises(UsageError, match="no index yet; no table of the store can have one; run vidray extract"):
        search(str(tmp_path), video=str(BIKES))
    with pytest.raises(UsageError, match="no table of 'yamnet', there is none; run vidray extract"):
        build_index(str(tmp_path), extractor=AUDIO)
    with pytest.raises(UsageError, match="no index of 'yamnet', there is none; run vidray index"):
        open_index(str(tmp_path), extractor=AUDIO)


def test_the_public_calls_are_these(store):
    index = vidray.open_index(store, extractor=FRAMES, verify=True)
    assert vidray.build_index is build_index
    matches = index.search(index.vector(clip_of(store, BIKES, 2.0)), k=2)
    assert matches.ids[0, 0] == clip_of(store, BIKES, 2.0)
    assert matches.scores[0, 0] == pytest.approx(1, abs=1e-3)


@pytest.fixture
def small(tmp_path) -> Store:
    """A store that a test may change, by small extractors of a third party."""
    store = Store(str(tmp_path / "store"))
    store.write_config(FixedStride(CLIP_S).config)
    for extractor in (MeanColour(), Loudness()):
        write_features(store, extractor, [BIKES, BUNNY])
        build_index(store.url, extractor=extractor.name)
    return store


def test_an_extractor_of_a_third_party_answers_by_its_name(small):
    """Where the user gives it: a store does not decide what is imported."""
    origin, of_audio = (f"{made.__module__}:{made.__name__}" for made in (MeanColour, Loudness))
    assert Store(small.url).spec("mean_colour")["extractor"] == origin
    for given in (origin, MeanColour()):
        found = search(small.url, video=str(BUNNY), at=(2, 4), extractor=given)
        assert (found.extractor, found.hits[0].uri) == ("mean_colour", str(BUNNY))
        assert {hit.start_s: hit.score for hit in found.hits if hit.uri == str(BUNNY)}[2.0] > 0.9999
    assert search(small.url, audio=str(BUNNY), extractor=of_audio).extractor == "loudness"
    clip = clip_of(small.url, BUNNY, 2.0)
    assert search(small.url, clip=clip, extractor="mean_colour").extractor == "mean_colour"
    for name in (None, "mean_colour"):
        with pytest.raises(UsageError, match=f"name it with -x {origin}, or pass the extractor"):
            search(small.url, video=str(BUNNY), at=(2, 4), extractor=name)
    with pytest.raises(UsageError, match=f"name it with -x {of_audio}, or pass the extractor"):
        search(small.url, audio=str(BUNNY))


def test_a_network_that_is_named_is_loaded_once(small, monkeypatch):
    loads = []
    load = MeanColour.load
    monkeypatch.setattr(MeanColour, "load", lambda self, device: loads.append(device) or load(self, device))
    searcher = vidray.open_search(small.url)
    for _ in range(3):
        searcher.search(video=str(BUNNY), at=(2, 4), extractor=f"{MeanColour.__module__}:MeanColour")
    assert loads == ["cpu"]


def test_a_new_part_is_missed_by_the_index_which_says_so(small):
    write_features(small, MeanColour(), [CARPHONE], part=1)
    found = search(small.url, video=str(CARPHONE), k=50, extractor=MeanColour())
    rows = small.rows("features/mean_colour", 1)
    assert found.notes == (f"the index lacks {rows} newer clips; run vidray index {small.url} -x mean_colour",)
    assert str(CARPHONE) not in {hit.uri for hit in found.hits}
    newer = small.read("clips", 1)["clip_id"][0].as_py()
    assert search(small.url, clip=newer, extractor="mean_colour").hits
    build_index(small.url, extractor="mean_colour")
    found = search(small.url, video=str(CARPHONE), k=50, extractor=MeanColour())
    assert (found.hits[0].uri, found.notes) == (str(CARPHONE), ())


def test_a_table_that_says_another_extractor_is_not_searched(small):
    shutil.rmtree(Path(small.url) / "features" / "mean_colour")
    write_features(small, MeanColour(fps=1.0), [BIKES])
    with pytest.raises(UsageError, match=r"another extractor made .* since; run vidray index \S+ -x"):
        search(small.url, video=str(BIKES))
    (Path(small.url) / "features" / "mean_colour" / "_spec.json").unlink()
    with pytest.raises(UsageError, match="does not say what made it; search it by clip"):
        search(small.url, video=str(BIKES), extractor="mean_colour")


def test_a_damaged_index_and_a_damaged_store_are_told_apart(small):
    (damaged,) = (Path(small.url) / "index" / "mean_colour").rglob("lists.bin")
    damaged.write_bytes(b"damaged")
    with pytest.raises(IndexFileError, match=r"; run vidray index \S+ -x mean_colour --rebuild$"):
        search(small.url, video=str(BIKES))
    (Path(small.url) / "features" / "loudness" / "_spec.json").write_text("{")
    with pytest.raises(StoreError, match=r"_spec\.json"):
        search(small.url, audio=str(BUNNY))


def test_a_store_and_a_query_on_object_storage(small, s3_bucket):
    import s3fs

    files = s3fs.S3FileSystem()
    files.put(small.url, f"{s3_bucket}/store", recursive=True)
    files.put(str(BUNNY), f"{s3_bucket}/query.mp4")
    build_index(f"{s3_bucket}/store", extractor="mean_colour")
    found = search(
        f"{s3_bucket}/store", video=f"{s3_bucket}/query.mp4", at=(0, 2), where="clip_index < 2", extractor=MeanColour()
    )
    assert (found.hits[0].uri, found.hits[0].start_s, found.hits[0].score > 0.999) == (str(BUNNY), 0.0, True)
    with pytest.raises(UsageError, match="no such file"):
        search(f"{s3_bucket}/store", video=f"{s3_bucket}/missing.mp4", extractor=MeanColour())


def test_damaged_clips_of_a_long_query_are_passed_over_with_a_note(small, monkeypatch):
    found = Loudness().load("cpu")

    def sometimes(items: list[ClipInput]) -> dict:
        if len(items[0]["audio"].samples) < CLIP_S * 8000:
            raise ValueError("too\nshort")
        return found(items)

    monkeypatch.setattr(Loudness, "load", lambda self, device: sometimes)
    heard = search(small.url, audio=str(BUNNY), extractor=Loudness())
    assert heard.notes == (f"{BUNNY}: 1 of 3 clips cannot be used",)
    with pytest.raises(MediaError, match="ValueError: too short") as caught:
        search(small.url, video=str(BUNNY), at=(4, 5), extractor=Loudness())
    assert "\n" not in str(caught.value)
