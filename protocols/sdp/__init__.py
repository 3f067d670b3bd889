"""Session descriptions: which media they announce, who may have media there, and the same description with the media
elsewhere."""
