"""Forward passes of the transformer over a KV cache, and the text encoder."""
