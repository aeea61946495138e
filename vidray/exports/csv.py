"""A table's columns that are no lists or structures, as CSV."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv as pa_csv

from vidray.exports.protocol import ExportSummary, Format, writing
from vidray.store import Store


def export_csv(store: Store, table: str, path: str) -> ExportSummary:
    """Write one file, with the values of all parts; says which columns are left out."""
    schemas = {part: store.schema(table, part) for part in store.parts(table)}
    # a manifest's columns stand only in the parts that were planned with it
    schema = pa.unify_schemas(list(schemas.values()), promote_options="permissive")
    flat = pa.schema([field for field in schema if not pa.types.is_nested(field.type)])
    rows = 0
    options = pa_csv.WriteOptions(quoting_style="needed")
    with writing(path) as file, pa_csv.CSVWriter(file, flat, write_options=options) as writer:
        for part, there in schemas.items():
            for some in store.stream(table, part, [name for name in flat.names if name in there.names]):
                filled = pa.concat_tables([flat.empty_table(), some], promote_options="permissive")
                writer.write_table(filled.select(flat.names).cast(flat))
                rows += len(some)
    left_out = tuple(name for name in schema.names if name not in flat.names)
    return ExportSummary(path=path, rows=rows, left_out=left_out)


FORMATS = (Format(name="csv", holds="columns that are no lists", write=export_csv),)
