"""Oracle TNS: sessions with a listener, and where it redirects them."""
