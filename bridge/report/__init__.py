"""The report: one offline HTML file over all records."""
