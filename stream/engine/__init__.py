"""The process that owns the device: `host` is its handle in the server, `worker` runs inside it."""
