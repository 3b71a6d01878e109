"""The engine process as the server sees it: started, watched, restarted, and the commands on their way to it."""
