"""The embedded pair: a small world of known entropy, and the two models that were trained in it."""
