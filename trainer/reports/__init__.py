"""Reports: the page, its charts and tables."""
