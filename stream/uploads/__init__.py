"""Pictures and clips that people send: received within a quota, decoded in processes of their own."""
