"""The training ladder: VAE, teacher, flow map. Each stage is a command, restartable, with a log and a plot."""
