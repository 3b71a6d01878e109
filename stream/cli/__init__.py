"""The server's commands, one file each; found through the entry-point group `farcast.commands`."""
