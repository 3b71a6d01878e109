"""Many servers as one service: where a session runs, what happens when its server ends, and the address people use."""
