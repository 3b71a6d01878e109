"""Viewers over WebRTC: SDP, one track per viewer, congestion control, and where aiortc is extended."""
