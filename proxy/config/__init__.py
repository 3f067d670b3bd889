"""The configuration: what a file may say, what is wrong with it, and what is in force."""
