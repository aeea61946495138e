"""The jobs on Ray: plan and extract. The only room that imports `ray`."""

from vidray.pipeline.extract import extract, name_tables
from vidray.pipeline.plan import estimate, plan
from vidray.pipeline.progress import Progress
from vidray.pipeline.record import Summary, failures

__all__ = ["Progress", "Summary", "estimate", "extract", "failures", "name_tables", "plan"]
