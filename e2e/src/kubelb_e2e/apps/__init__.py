"""Applications that scenarios run as pods; standard library only, so that they start in a moment."""
