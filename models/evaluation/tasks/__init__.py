"""What `farcast eval` makes and measures: one module per task."""
