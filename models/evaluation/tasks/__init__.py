"""The tasks of `farcast eval`, one module each."""
