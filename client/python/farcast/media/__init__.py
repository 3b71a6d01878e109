"""The picture: a WHEP player, its frames, recordings, and queues between readers."""
