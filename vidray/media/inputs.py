"""What an extractor is given of one clip: samples of its video, and columns of other extractors' tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vidray.media.values import Clip


@dataclass(frozen=True)
class Columns:
    """Columns of another extractor's table, as an input.

    Attributes:
        table: The table's name, or its extractor's; None for the only table that has these columns.
        columns: Their names. A clip's value is a dict by these names.
        default: The extractor that is added where no table has such columns; None for none.
        optional: Columns that are passed where the table has them, and as None where it has not.
    """

    table: str | None
    columns: tuple[str, ...]
    default: str | None = None
    optional: tuple[str, ...] = ()

    def __init__(
        self, table: str | None, columns: Sequence[str], default: str | None = None, *, optional: Sequence[str] = ()
    ) -> None:
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "columns", (columns,) if isinstance(columns, str) else tuple(columns))
        object.__setattr__(self, "default", default)
        object.__setattr__(self, "optional", tuple(optional))


@dataclass(frozen=True, kw_only=True)
class ClipInput:
    """One clip, with a value for each input of the extractor. Times are on the video's own clock throughout.

    Attributes:
        clip: Which it is: its id, URI and span, without the context.
        values: By the input's name; None where the clip has nothing of the kind.
        failed: Whether a table that is an input has an error for this clip: its values are None then. Only extractors
            of scope "video" are given such clips.
        previous_end_s: The latest end of the video's clips before this one, None for the first. What lasts and begins
            before it belongs to an earlier clip.
    """

    clip: Clip
    values: Mapping[str, Any]
    failed: bool = False
    previous_end_s: float | None = None

    def __getitem__(self, name: str) -> Any:
        return self.values[name]
