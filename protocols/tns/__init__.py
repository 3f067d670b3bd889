"""Oracle TNS."""
