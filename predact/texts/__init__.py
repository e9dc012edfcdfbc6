"""Corpora and prompts: where texts come from."""
