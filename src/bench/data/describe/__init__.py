"""`bench data describe`: what a category holds, in figures and in one picture."""
