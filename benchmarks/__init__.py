"""djsci beside the alternatives: every way once a round, medians of ratios."""
