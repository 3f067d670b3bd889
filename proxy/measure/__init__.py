"""What a running daemon is measured by: read when somebody asks, and never kept twice."""
