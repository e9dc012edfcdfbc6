"""Models: which, how they are loaded, scored, sampled, finetuned."""
