"""`farcast doctor`: checks of the machine before a server is started on it."""
