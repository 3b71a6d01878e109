"""The governor under a virtual clock, against synthetic devices, simpler controllers and the exact optimum."""
