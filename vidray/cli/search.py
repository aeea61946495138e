"""`vidray search`: from a query to the clips that are most like it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vidray.cli.arguments import add_json, command, count, print_json, say, span, tell
from vidray.wording import counted

if TYPE_CHECKING:
    from vidray.retrieval.hits import Explanation, Hit, VideoHit


def add(commands: Any) -> None:
    parser = command(commands, "search", run_search, "find clips by an example, or by words")
    parser.add_argument("store", metavar="STORE")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--clip", metavar="ID", help="a clip of the store")
    query.add_argument("--video", metavar="FILE", help="any video")
    query.add_argument("--image", metavar="FILE", help="any frame")
    query.add_argument("--audio", metavar="FILE", help="any audio")
    query.add_argument("--text", help='words, such as "a dog"')
    parser.add_argument("--at", type=span, metavar="START-END", help="seconds of --video")
    parser.add_argument("-x", "--extractor", metavar="NAME", help="whose index, where there are several")
    parser.add_argument("-k", type=count, default=10, help="how many hits (10)")
    choices = ["frames", "audio", "speech", "screen", "description"]
    parser.add_argument("--in", dest="modality", choices=choices, help="what is to be alike, or where words are")
    parser.add_argument("--by", choices=["clip", "video"], default="clip", help="what a hit is (clip)")
    parser.add_argument("--where", metavar="EXPR", help='an SQL condition on the clips, such as "duration_s > 60"')
    parser.add_argument("--explain", action="store_true", help="say how the answer came about")
    add_json(parser)


def run_search(arguments: argparse.Namespace) -> int:
    from vidray.retrieval.search import search

    result = search(
        arguments.store,
        clip=arguments.clip,
        video=arguments.video,
        at=arguments.at,
        image=arguments.image,
        audio=arguments.audio,
        text=arguments.text,
        extractor=arguments.extractor,
        modality=arguments.modality,
        k=arguments.k,
        by=arguments.by,
        where=arguments.where,
        explain=arguments.explain,
    )
    for note in result.notes:
        say(note)
    if result.explanation is not None:
        for line in _explained(result.explanation):
            say(line)
    if arguments.json:
        answer = dataclasses.asdict(result)
        del answer["notes"]
        if result.explanation is None:
            del answer["explanation"]
        print_json(answer)
        return 0
    hits: Sequence[Hit | VideoHit] = result.hits
    if not hits:
        say("no clip found" if arguments.where is None else "no clip found: the filter (--where) keeps none of them")
    for rank, hit in enumerate(hits, start=1):
        by = f"{hit.modality or '-':6}  " if arguments.text is not None else ""
        tell(f"{rank:3d}  {hit.score:.4f}  {by}{_place(hit)}")
        if getattr(hit, "text", None):
            tell(f"{'':13}{_marked(hit)}")
    return 0


def _marked(hit: Any) -> str:
    """A passage with the words that match between asterisks."""
    text, place = "", 0
    for first, stop in hit.matches:
        text += f"{hit.text[place:first]}*{hit.text[first:stop]}*"
        place = stop
    return text + str(hit.text[place:])


def _place(hit: Hit | VideoHit) -> str:
    spans = getattr(hit, "spans", None)
    if spans is not None:
        return f"{hit.uri}  {', '.join(f'{span.start_s:g}-{span.end_s:g} s' for span in spans)}"
    return hit.clip_id if hit.start_s is None else f"{hit.uri}  {hit.start_s:g}-{hit.end_s:g} s  {hit.clip_id}"


def _explained(how: Explanation) -> Iterator[str]:
    if how.index is None:
        yield f"by the classes in features/{how.table}: {counted(how.clips, 'clip')}, all looked at"
        return
    yield f"by index/{how.table}: {how.index}, {counted(how.clips, 'clip')}"
    if how.kept is not None:
        yield f"the filter keeps {counted(how.kept, 'clip')}"
    lists = f"in {how.lists:,} of {how.of_lists:,} lists" if how.lists else "one by one"
    many = f", for {how.vectors} vectors" if how.vectors > 1 else ""
    sure = "exact" if how.exact else f"recall at 10 was {how.recall_at_10:.3f} when it was built, without a filter"
    yield f"{how.compared:,} were compared, {lists}{many}; {sure}"
