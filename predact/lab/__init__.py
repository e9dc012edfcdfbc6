"""The laboratory: four tabs with a live kernel, in which a reader asks, reads, guesses and steers a pair's models."""
