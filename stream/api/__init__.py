"""The HTTP face of the service: one file for each kind of route."""
