"""`bench serve`: leaderboards and the pictures of runs in a browser, on this machine alone."""
