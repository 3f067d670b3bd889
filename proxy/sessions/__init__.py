"""A session from its arrival to its end: who may begin one, what drives its engine, what is left behind."""
