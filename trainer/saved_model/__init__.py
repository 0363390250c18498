"""SavedModels: writing, checking and finding them."""
