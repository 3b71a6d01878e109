"""The service: sessions over HTTP, frames over WebRTC, one engine process that owns the device."""
