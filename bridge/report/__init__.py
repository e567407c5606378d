"""The report: one offline HTML file over all records."""

from bridge.report.document import render, write_report

__all__ = ["render", "write_report"]
