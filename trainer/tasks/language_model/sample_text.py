"""The embedded sample of English: the help topics that every Python installation carries."""

from __future__ import annotations


def sample_text() -> str:
    """About 460,000 characters on the Python language, topics in the order of their names; they differ between Python
    versions.
    """
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name].strip("\n") for name in sorted(topics)) + "\n"
