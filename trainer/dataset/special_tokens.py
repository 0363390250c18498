"""The ids that mean the same in every vocabulary and in all records: padding, unknown, start and end of a document."""

PAD, UNKNOWN, START, END = range(4)
SPECIAL = ("<pad>", "<unknown>", "<start>", "<end>")
UNKNOWN_TEXT = "\ufffd"
