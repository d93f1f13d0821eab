"""djsci's code beside the user's: standard library only, and nothing of djsci but itself."""
