"""Session descriptions: which media they announce, whose it may be, and the same with the media elsewhere."""
