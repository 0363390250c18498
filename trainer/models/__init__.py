"""Neural networks: recurrent layers, heads, decoding."""
