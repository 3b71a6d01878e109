"""Sessions on disk (or any fsspec file system), so that they outlive the server process."""
