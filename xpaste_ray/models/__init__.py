"""Models, one family a file. They know torch and its libraries, and nothing of Ray."""
