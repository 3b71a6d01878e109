"""From pixels to packets: the playout clock, shared encodings, and the bit rate that networks carry."""
