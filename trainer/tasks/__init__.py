"""Tasks: how one kind of sequence is read, batched, modelled, scored and served."""
