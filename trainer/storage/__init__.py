"""Cloud Storage: what comes from `gs://` addresses becomes local files, what a command writes to one is published. No
TensorFlow.
"""
