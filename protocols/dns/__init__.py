"""DNS: questions and their answers. engine.py has the sessions, answers.py what becomes of an answer, wire.py reads."""
