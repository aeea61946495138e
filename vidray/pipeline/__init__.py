"""The jobs on Ray: plan, extract, train and index. The only room that imports `ray`."""

from vidray.pipeline.extract import extract, name_tables
from vidray.pipeline.index import build_index
from vidray.pipeline.plan import estimate, plan
from vidray.pipeline.progress import Progress
from vidray.pipeline.record import Summary, failures
from vidray.pipeline.train import TrainSummary, train

__all__ = [
    "Progress",
    "Summary",
    "TrainSummary",
    "build_index",
    "estimate",
    "extract",
    "failures",
    "name_tables",
    "plan",
    "train",
]
