"""Measuring the way from the playout clock to a viewer's eye, with a test pattern in place of the model.

`server` is Farcast itself in a process of its own, which also tells when each frame left; `eye` is a Chromium that
reads the frames' numbers back from its <video>; `fan` is a process of many viewers that do not look; `udp` is a network
in bad shape. `transport`, `trouble` and `soak` put them together.
"""
