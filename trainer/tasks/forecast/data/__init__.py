"""Series: files, records, windows, covariates, calendars."""
