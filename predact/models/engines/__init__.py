"""Engines that models are sampled in, beside transformers."""
