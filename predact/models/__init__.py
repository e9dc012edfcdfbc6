"""Models: which ones there are; how they are loaded, scored, sampled and finetuned."""
