"""What there is in a store as a page to look at: tables become data beside a static page, which needs no server."""

from __future__ import annotations

from vidray.report.site import ReportSummary, write_report

__all__ = ["ReportSummary", "write_report"]
