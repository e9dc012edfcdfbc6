"""The embedded pair: a small world of known entropy, and the models that were trained in it."""
