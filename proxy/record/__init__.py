"""What is recorded: the audit log and the metrics."""
