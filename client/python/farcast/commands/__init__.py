"""The commands of the base install, one file each. Server commands live with the server."""
