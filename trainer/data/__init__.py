"""From raw data to batches: sources, records, manifest, pipeline."""
