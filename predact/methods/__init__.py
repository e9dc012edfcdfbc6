"""Measures on token ids and arrays, independent of any claim."""
