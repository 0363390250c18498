"""Text: tokenizers, vocabularies, sampling."""
