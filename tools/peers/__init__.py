"""Real servers, clients and phones that pinhole is tried with, and calls and audio that are known again."""
