"""A session: what people see, joined from the engine's frames, playout and the replies to their commands."""
