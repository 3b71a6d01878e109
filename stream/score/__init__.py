"""The score of a session: the log that decides its pixels, its replay, and renders of it."""
