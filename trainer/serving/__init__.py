"""SavedModels: writing, checking, and predicting with them."""
