"""IRC: files and chats between users. engine.py has the session, offers.py what it opens, dcc.py what users say."""
