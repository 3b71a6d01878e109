"""Pictures and animations of the page in use, for the docs."""
