"""A session from its arrival to its end: which may begin, what drives its engine, and what is left behind."""
