"""A fleet of servers, in simulation and on this machine."""
