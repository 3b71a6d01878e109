"""The streaming rollout: chunks, the KV cache, prompts that change, snapshots."""
