"""Listing laws: sorted, each URI once, deterministic ids, and one clear line for what cannot be listed."""

import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from av.format import ContainerFormat

from vidray.corpus import MEDIA_SUFFIXES, list_corpus
from vidray.decode.formats import VIDEO_FORMATS
from vidray.errors import UsageError
from vidray.media import UNSEEN
from vidray.storage import local_path, open_uri


@pytest.fixture
def folder(tmp_path):
    for name in ("b.mp4", "a.MKV", "deep/er/c.webm", "notes.txt", ".hidden/d.mp4", "deep/.e.mp4"):
        path = tmp_path / "media" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "media"


def names(listing, top):
    return [os.path.relpath(video.uri, top) for video in listing.videos]


def test_a_directory_is_listed_recursively_without_hidden_files(folder):
    listing = list_corpus(str(folder))
    assert names(listing, folder) == ["a.MKV", "b.mp4", "deep/er/c.webm"]
    assert listing.skipped_files == 1
    assert listing.warnings == (
        f"{folder}: left out 1 file that is not media by its name (1 .txt); name one to have it read",
    )
    assert [video.size_bytes for video in listing.videos] == [5, 5, 14]


def test_an_entry_that_cannot_be_asked_costs_one_row(folder):
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    (folder / "loop.txt").symlink_to(folder / "loop.txt")
    (folder / "gone.mp4").symlink_to(folder / "nothing.mp4")
    listing = list_corpus(str(folder))
    assert names(listing, folder) == ["a.MKV", "b.mp4", "deep/er/c.webm", "loop.mp4"]
    assert [video.is_seen for video in listing.videos] == [True, True, True, False]
    assert names(list_corpus(f"{folder}/*.mp4"), folder) == ["b.mp4", "gone.mp4", "loop.mp4"]


def test_what_is_listed_can_be_opened(folder):
    """Each suffix is of a container that decoding opens; those of others are left out, and said."""
    for name in ("a.dv", "b.mjpg", "c.m4b", "d.caf", "e.264", "f.rm", "g.y4m"):
        (folder / name).write_bytes(b"x")
    listing = list_corpus(str(folder))
    assert set(names(listing, folder)) >= {"a.dv", "b.mjpg", "c.m4b", "d.caf", "e.264"}
    assert "left out 3 files that are not media by their names (1 .rm, 1 .txt, 1 .y4m)" in listing.warnings[0]


def test_what_decoding_opens_is_listed():
    """All suffixes that FFmpeg has for these containers, but for still images, subtitles and a server's manifest."""
    known = {f".{suffix}" for name in VIDEO_FORMATS.split(",") for suffix in ContainerFormat(name, "r").extensions}
    others = {".avif", ".heic", ".heif", ".mpo", ".mks", ".ism"}
    assert known - others <= MEDIA_SUFFIXES
    assert not others & MEDIA_SUFFIXES


@pytest.mark.parametrize("name", ["a::b.mp4", "c .mp4 ", "d\u200b.mp4", "e?versionId=1.mp4", "f%2Fg.mp4"])
def test_no_name_ends_the_command(folder, name):
    (folder / name).write_bytes(b"x")
    listing = list_corpus(str(folder / name))
    assert [os.path.basename(video.uri) for video in listing.videos] == [name]
    with open_uri(listing.videos[0].uri) as file:
        assert file.read() == b"x"


def test_a_glob_takes_what_matches(folder):
    assert names(list_corpus(f"{folder}/*.mp4"), folder) == ["b.mp4"]
    assert names(list_corpus(f"{folder}/**/*.webm"), folder) == ["deep/er/c.webm"]


def test_a_single_file_needs_no_known_suffix(folder):
    (folder / "clip").write_bytes(b"x")
    assert names(list_corpus(str(folder / "clip")), folder) == ["clip"]


def test_limit_takes_the_first_of_the_sorted_listing(folder):
    assert names(list_corpus(str(folder), limit=2), folder) == ["a.MKV", "b.mp4"]


def test_ids_are_the_same_again_and_change_with_the_file(folder):
    first = list_corpus(str(folder)).videos
    assert first == list_corpus(str(folder)).videos
    (folder / "b.mp4").write_bytes(b"longer than it was")
    second = list_corpus(str(folder)).videos
    assert [a.video_id == b.video_id for a, b in zip(first, second, strict=True)] == [True, False, True]


def test_a_link_changes_with_its_file(folder):
    (folder / "link.mp4").symlink_to(folder / "b.mp4")
    first = list_corpus(f"{folder}/link.mp4").videos
    os.utime(folder / "b.mp4", (1.0, 1.0))
    second = list_corpus(f"{folder}/link.mp4").videos
    assert first[0].fingerprint != second[0].fingerprint == "size:5:mtime:1.0"


def test_a_storage_that_fails_is_not_taken_for_an_empty_one(folder, monkeypatch):
    def fail(*arguments, **options):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.info", fail)
    with pytest.raises(PermissionError):
        list_corpus(str(folder))


@pytest.mark.parametrize("corpus", ["nothing-there", "nothing-there.csv", "*.mp4"])
def test_what_is_not_there_is_a_usage_error(tmp_path, corpus):
    with pytest.raises(UsageError, match=r"no such file|no video or audio files"):
        list_corpus(str(tmp_path / corpus))


def test_a_folder_without_media_says_what_it_holds(tmp_path):
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(UsageError, match=r"1 file that is not media by its name \(1 \.txt\)"):
        list_corpus(str(tmp_path))


def manifest(path, rows):
    table = pa.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_manifests_carry_spans_sizes_and_metadata(tmp_path, suffix):
    rows = [
        {"uri": "s3://bucket/b.mp4", "size_bytes": 7, "etag": '"e1"', "start_s": 5.0, "end_s": 6.5, "tag": "late"},
        {"uri": "s3://bucket/b.mp4", "size_bytes": 7, "etag": '"e1"', "start_s": 0.0, "end_s": 2.0, "tag": "early"},
        {"uri": "s3://bucket/a.mp4", "size_bytes": 9, "etag": '"e2"', "start_s": 1.0, "end_s": 2.0, "tag": "other"},
    ]
    listing = list_corpus(manifest(tmp_path / f"m{suffix}", rows))
    a, b = listing.videos
    assert (a.uri, a.size_bytes, a.fingerprint, a.spans) == ("s3://bucket/a.mp4", 9, "etag:e2", ((1.0, 2.0),))
    assert b.spans == ((0.0, 2.0), (5.0, 6.5))
    assert [row["tag"] for row in b.metadata] == ["early", "late"]
    assert not listing.warnings


def test_text_manifests_and_relative_uris(folder):
    (folder / "list.txt").write_text("b.mp4\n\n  deep/er/c.webm  \nmissing.mp4\n")
    listing = list_corpus(str(folder / "list.txt"))
    assert names(listing, folder) == ["b.mp4", "deep/er/c.webm", "missing.mp4"]
    assert listing.videos[2].fingerprint == UNSEEN


LINE = b'{"uri": "b.mp4", "title": "two\\nlines, and a comma", "start": 1, "end": 2.5}\n'
SHEET = 'uri,title,start,end\r\n"b.mp4","two\nlines, and a comma",1,2.5\r\n'


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("excel.csv", b"\xef\xbb\xbf" + SHEET.encode()),
        ("semicolons.csv", SHEET.replace(",", ";").replace("lines; and", "lines, and").encode()),
        ("tabs.tsv", SHEET.replace(",", "\t").replace("lines\t and", "lines, and").encode()),
        # no time of day in the names of tests, which several processes compare
        ("packed.csv.gz", gzip.compress(SHEET.encode(), mtime=0)),
        ("spaces.csv", SHEET.replace("uri,title,start,end", " uri , title,Start , End").encode()),
        ("lines.jsonl.gz", gzip.compress(LINE, mtime=0)),
        ("unicode.txt", b"\xff\xfe" + "b.mp4\n".encode("utf-16-le")),
    ],
)
def test_manifests_as_spreadsheets_and_pandas_write_them(folder, name, data):
    (folder / name).write_bytes(data)
    listing = list_corpus(str(folder / name))
    assert names(listing, folder) == ["b.mp4"]
    if not name.endswith(".txt"):
        assert listing.videos[0].spans == ((1.0, 2.5),)
        (row,) = listing.videos[0].metadata
        assert row["title"] == "two\nlines, and a comma"


def test_a_damaged_packed_manifest_is_refused(folder):
    (folder / "x.csv.gz").write_bytes(gzip.compress(SHEET.encode())[:-9])
    with pytest.raises(UsageError, match=r"x\.csv\.gz: cannot be read as a \.csv manifest"):
        list_corpus(str(folder / "x.csv.gz"))


def test_a_uri_given_twice_counts_once_with_a_warning(folder):
    (folder / "list.txt").write_text("b.mp4\nb.mp4\n")
    listing = list_corpus(str(folder / "list.txt"))
    assert len(listing.videos) == 1
    assert "1 row with a video or span that is named already" in listing.warnings[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\na.mp4\n", "needs a column 'uri', found path"),
        ("uri,start_s,end_s\na.mp4,5,3\n", "row 1: a span needs 0 <= start_s < end_s in seconds, got 5 and 3"),
        ("uri,start_s,end_s\na.mp4,5,\n", "row 1: a span needs"),
        ("uri,n\n,1\n", "row 1: uri must be a path or URL"),
        ("uri\n", "has no rows"),
    ],
)
def test_malformed_manifests_say_where_and_what(tmp_path, text, message):
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        list_corpus(str(path))


def test_names_that_are_not_utf8_stay_readable(tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    with open(name, "wb") as file:
        file.write(b"data")
    (video,) = list_corpus(str(tmp_path)).videos
    assert video.uri.encode()
    assert os.fsencode(local_path(video.uri)) == name
    with open_uri(video.uri) as file:
        assert file.read() == b"data"


def test_unknown_storage_is_a_usage_error():
    with pytest.raises(UsageError, match="no storage 'nosuch://'"):
        list_corpus("nosuch://bucket/x")
