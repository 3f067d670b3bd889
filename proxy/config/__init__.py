"""The configuration: what the file may say, what is wrong with it, and what is in force."""
