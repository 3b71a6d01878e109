"""One module per bench: `farcast bench NAME` runs `bench.commands.NAME`."""
