"""pyarrow in vidray's own processes does without pandas, and can still convert to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
import pyarrow as pa
if {hidden}:
    from vidray.arrow import without_pandas
    without_pandas()
table = pa.table({{"name": ["a", None]}})
print("pandas" in sys.modules, table.num_rows)
import pandas
print(list(table.to_pandas()["name"].isna()), pa.table(pandas.DataFrame({{"x": [1, 2]}}))["x"].to_pylist())
"""


def said(*, hidden: bool) -> list[str]:
    run = subprocess.run([sys.executable, "-c", CODE.format(hidden=hidden)], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


def test_lists_are_converted_without_pandas() -> None:
    assert said(hidden=True)[0] == "False 2"
    assert said(hidden=False)[0] == "True 2", "pyarrow does without pandas by itself now: vidray/arrow.py can go"


def test_workers_with_extractors_of_others_keep_pandas(repository: Path) -> None:
    code = (
        "from vidray.pipeline.pool import _Worker\n"
        "from tests.extractors_for_tests import MeanColour\n"
        "_Worker('/nowhere').hold({'m': MeanColour()}, {})\n"
        "import pandas as pd, pyarrow as pa\n"
        "print(pa.array(pd.Series([0.1, 0.2, 0.3]).sort_values(ascending=False)).to_pylist())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert run.stdout.split() == ["[0.3,", "0.2,", "0.1]"]


def test_pandas_can_be_imported_and_converted_to_afterwards() -> None:
    assert said(hidden=True)[1] == "[False, True] [1, 2]"
