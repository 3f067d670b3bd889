"""What carries bytes unread."""
