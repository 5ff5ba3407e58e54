"""The Model Context Protocol: assistants search and look at what is there, and change nothing."""
