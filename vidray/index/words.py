"""The index of words: the segments of speech, or the lines on screen, of one table, found by BM25 and by meaning.

It is one archive beside the index of vectors, `index/<table>/words-<version>.zip`, and `words.json`, which names it and
says what it was built from: a reader sees all of a version or another one, on any storage. The archive holds what
tantivy wrote and `rows.parquet`. It is built anew whenever the table has changed: a hundred hours of speech are some
50,000 segments, which takes seconds.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vidray.errors import IndexFileError, MissingExtraError, UsageError
from vidray.index.analyzers import EXACT, STEMMERS, asker, register
from vidray.index.spoken import Passage, modality_of, passages
from vidray.storage import Folder
from vidray.store import Store
from vidray.store.layout import features_of, index_of
from vidray.store.remedies import index_command

FORMAT = 1
CURRENT = "words.json"
ROWS = "rows.parquet"
WRITER_BYTES = 50_000_000
KEPT_OPEN = 8
"""Indexes of words that a process keeps open."""
LARGEST_BYTES = 4 << 30
"""What an archive may unpack to."""

Floats = npt.NDArray[np.float32]
EmbedFn = Callable[[Sequence[str]], Floats]


@dataclass(frozen=True, kw_only=True)
class WordsInfo:
    """An index of words, as `words.json` has it.

    Attributes:
        file: The archive's name.
        sha256: Its hash.
        modality: `speech` or `screen`.
        rows: Passages in it.
        languages: Whose stems there are.
        has_meaning: Whether it holds a vector for each passage.
        source: The hash of the table's spec and of its parts' names, sizes and seals.
    """

    format: int
    file: str
    sha256: str
    modality: str
    rows: int
    languages: tuple[str, ...]
    has_meaning: bool
    source: str


def build_words(store: Store, table: str, *, embed: EmbedFn | None, rebuild: bool = False) -> tuple[WordsInfo, bool]:
    """Build the index of words of a table, or leave it where nothing has changed.

    Args:
        store: The store.
        table: A table of speech to text, of lines on screen, or of captions.
        embed: From texts to unit vectors, None for an index of words alone.
        rebuild: Whether to build it whatever is there.

    Returns:
        What there is now, and whether it was built.

    Raises:
        UsageError: The table has neither.
        MissingExtraError: The extra `words` is not installed.
    """
    modality = modality_of(store.spec(table) or {})
    if modality is None:
        lacking = "no segments of speech, no lines on screen and no captions"
        raise UsageError(f"{store.url}/{features_of(table)} has {lacking} to index")
    _check_installed()
    folder = Folder(f"{store.url}/{index_of(table)}")
    source = _source(store, table)
    known = _read_info(folder) if folder.exists(CURRENT) else None
    if known is not None and known.source == source and known.has_meaning == (embed is not None) and not rebuild:
        return known, False
    found = list(passages(store, table, modality))
    archive = _archive(found, embed)
    sha256 = hashlib.sha256(archive).hexdigest()
    info = WordsInfo(
        format=FORMAT, file=f"words-{sha256[:16]}.zip", sha256=sha256, modality=modality, rows=len(found),
        languages=_languages(found), has_meaning=embed is not None, source=source,
    )  # fmt: skip
    folder.write_bytes(info.file, archive)
    folder.write_bytes(CURRENT, json.dumps(asdict(info), indent=1).encode())
    for name in folder.sizes():
        if name.startswith("words-") and name != info.file:
            folder.remove(name)
    return info, True


def word_tables(store: Store) -> list[str]:
    """The tables that have an index of words."""
    return store.holding("index", CURRENT)


@dataclass(frozen=True)
class Found:
    """A passage that matches.

    Attributes:
        row: Its place among the index's rows.
        score: BM25's, or a cosine.
    """

    row: int
    score: float


class Words:
    """An opened index of words.

    Attributes:
        info: What it is.
        rows: The passages, in order.
        vectors: Their meanings, float32 (N, D); None without.
    """

    def __init__(self, store: Store, table: str) -> None:
        """Fetch and open it. Raises UsageError where there is none, IndexFileError where it is damaged."""
        _check_installed()
        import tantivy

        self.info, data = _fetched(store, table)
        self._source = store, table
        where = f"{store.url}/{index_of(table)}/{self.info.file}"
        scratch = Path(tempfile.mkdtemp(prefix="vidray-words-"))
        weakref.finalize(self, shutil.rmtree, scratch, True)
        _unpack(data, scratch, where)
        held = pq.read_table(scratch / ROWS)
        columns = [field.name for field in fields(Passage)]
        self.rows = [Passage(**row) for row in held.select(columns).to_pylist()]
        self.vectors: Floats | None = None
        if "embedding" in held.column_names and len(held):
            flat = held["embedding"].combine_chunks().flatten().to_numpy()
            self.vectors = np.asarray(flat.reshape(len(held), -1), np.float32)
        self._index = tantivy.Index.open(str(scratch))
        self._analyzers = register(self._index, self.info.languages)
        self._askers = {field: asker(field, self.info.languages) for field in self._analyzers}

    @property
    def is_stale(self) -> bool:
        """Whether the table has changed since."""
        return self.info.source != _source(*self._source)

    def by_words(self, words: str, phrases: Sequence[str], count: int) -> list[Found]:
        """The best passages by BM25: some of the words, and all of the phrases as they stand."""
        import tantivy

        clauses = [(tantivy.Occur.Must, self._phrase(phrase)) for phrase in phrases]
        for field in self._analyzers:
            clauses += [
                (tantivy.Occur.Should, tantivy.Query.term_query(self._index.schema, field, term))
                for term in self._asked(words, field)
            ]
        clauses = [clause for clause in clauses if clause[1] is not None]
        if not clauses or not count or not self.rows:
            return []
        searcher = self._index.searcher()
        hits = searcher.search(tantivy.Query.boolean_query(clauses), min(count, len(self.rows))).hits
        found = [Found(int(searcher.doc(address)["row"][0]), float(score)) for score, address in hits]
        return sorted(found, key=lambda one: (-one.score, one.row))

    def stems(self, text: str, language: str | None) -> list[str]:
        """A text's words as the index compares them in a language; as they stand, where it has no stemmer."""
        return list(self._analyzers[self._field(language)].analyze(text))

    def asked(self, text: str, language: str | None) -> list[str]:
        """The same of a query: without the words that say nothing, where there are others; each once."""
        return self._asked(text, self._field(language))

    def _asked(self, text: str, field: str) -> list[str]:
        found = self._askers[field].analyze(text) or self._analyzers[field].analyze(text)
        return list(dict.fromkeys(found))

    def _field(self, language: str | None) -> str:
        field = f"stem_{language}"
        return field if field in self._analyzers else EXACT

    def _phrase(self, phrase: str) -> Any:
        import tantivy

        words = self._analyzers[EXACT].analyze(phrase)
        if len(words) > 1:
            return tantivy.Query.phrase_query(self._index.schema, EXACT, words)
        return tantivy.Query.term_query(self._index.schema, EXACT, words[0]) if words else None


def open_words(store: Store, table: str) -> Words:
    """The index of words of a table, opened once a version. Raises as `Words` does."""
    folder = Folder(f"{store.url}/{index_of(table)}")
    sha256 = _read_info(folder).sha256 if folder.exists(CURRENT) else ""
    return _opened(store.url, table, sha256, store.spec_sha256(table))


@lru_cache(maxsize=KEPT_OPEN)
def _opened(store: str, table: str, sha256: str, spec_sha256: str | None) -> Words:
    return Words(Store(store), table)


def check_words(store: Store, table: str) -> tuple[WordsInfo, bool]:
    """An index of words whose bytes are what they were, and whether its table has changed since.

    Raises IndexFileError where it is damaged.
    """
    _fetched(store, table)
    return known_words(store, table)


def known_words(store: Store, table: str) -> tuple[WordsInfo, bool]:
    """What is written down of an index of words, and whether its table has changed since; its bytes are not read.

    Raises IndexFileError where that cannot be read.
    """
    info = _read_info(Folder(f"{store.url}/{index_of(table)}"))
    return info, info.source != _source(store, table)


def is_file_of_words(name: str) -> bool:
    """Whether a file beside an index of vectors is one of an index of words."""
    return name == CURRENT or name.startswith("words-")


def _fetched(store: Store, table: str) -> tuple[WordsInfo, bytes]:
    folder = Folder(f"{store.url}/{index_of(table)}")
    if not folder.exists(CURRENT):
        raise UsageError(f"{store.url}: no index of the words of '{table}'; run {index_command(store.url, table)}")
    info = _read_info(folder)
    where = f"{folder.url}/{info.file}"
    remedy = f"build it anew with {index_command(store.url, table, '--rebuild')}"
    try:
        data = folder.read_bytes(info.file)
    except FileNotFoundError as e:
        raise IndexFileError(f"{where} is not there: {remedy}") from e
    if hashlib.sha256(data).hexdigest() != info.sha256:
        raise IndexFileError(f"{where} is damaged: {remedy}")
    return info, data


def _archive(found: Sequence[Passage], embed: EmbedFn | None) -> bytes:
    columns: dict[str, Any] = {
        field.name: pa.array(
            [getattr(one, field.name) for one in found], pa.float64() if field.name.endswith("_s") else pa.string()
        )
        for field in fields(Passage)
    }
    if embed is not None:
        vectors = embed([one.text for one in found]) if found else np.zeros((0, 1), np.float32)
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    with tempfile.TemporaryDirectory(prefix="vidray-words-") as scratch:
        _write_tantivy(Path(scratch), found)
        pq.write_table(pa.table(columns), Path(scratch) / ROWS)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(Path(scratch).iterdir()):
                if not path.name.endswith(".lock"):
                    archive.write(path, path.name)
        return packed.getvalue()


def _write_tantivy(folder: Path, found: Sequence[Passage]) -> None:
    import tantivy

    languages = _languages(found)
    builder = tantivy.SchemaBuilder()
    for field in (EXACT, *(f"stem_{language}" for language in languages)):
        builder.add_text_field(field, tokenizer_name=field, index_option="position")
    builder.add_unsigned_field("row", stored=True)
    index = tantivy.Index(builder.build(), path=str(folder))
    register(index, languages)
    writer = index.writer(WRITER_BYTES, 1)
    for number, one in enumerate(found):
        document = tantivy.Document(**{EXACT: one.text}, row=number)
        if one.language in languages:
            document.add_text(f"stem_{one.language}", one.text)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()


def _languages(found: Sequence[Passage]) -> tuple[str, ...]:
    return tuple(sorted({one.language for one in found if one.language in STEMMERS} & STEMMERS.keys()))


def _unpack(data: bytes, folder: Path, where: str) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.infolist()
            if any("/" in one.filename or "\\" in one.filename for one in names):
                raise IndexFileError(f"{where} holds more than plain files")
            if sum(one.file_size for one in names) > LARGEST_BYTES:
                raise IndexFileError(f"{where} would unpack to more than {LARGEST_BYTES:,} bytes")
            archive.extractall(folder)
    except zipfile.BadZipFile as e:
        raise IndexFileError(f"{where} is no archive: {e}") from e


def _read_info(folder: Folder) -> WordsInfo:
    where = f"{folder.url}/{CURRENT}"
    try:
        values: Mapping[str, Any] = json.loads(folder.read_bytes(CURRENT))
        info = WordsInfo(**{**values, "languages": tuple(values["languages"])})
    except (ValueError, KeyError, TypeError) as e:
        raise IndexFileError(f"{where} is damaged: build the index anew with --rebuild") from e
    if info.format != FORMAT:
        raise IndexFileError(f"{where} is of format {info.format}, this version opens {FORMAT}: build it anew")
    if "/" in info.file or not info.file.startswith("words-"):
        raise IndexFileError(f"{where} names another file than an index of words")
    if not set(info.languages) <= STEMMERS.keys():
        raise IndexFileError(f"{where} names languages that have no stemmer here")
    return info


def _source(store: Store, table: str) -> str:
    """What changes when the table does."""
    digest = hashlib.sha256(str(store.spec_sha256(table)).encode())
    for name, size in _files(store.folder, features_of(table)):
        digest.update(f"{name} {size} ".encode())
        if name.rpartition("/")[2].startswith("_") and size < 4096:
            digest.update(store.folder.read_bytes(name))
    return digest.hexdigest()


def _files(folder: Folder, prefix: str) -> Iterator[tuple[str, int]]:
    yield from folder.sizes(prefix).items()


def _check_installed() -> None:
    if find_spec("tantivy") is None:
        raise MissingExtraError("searching words", "words")
