"""The rows of the catalogue of events, in one module for each part of the program that writes them."""
