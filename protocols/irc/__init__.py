"""IRC: files and chats between users. engine.py has the session, exchange.py what users say to each other, ways.py what
stands open for it."""
