"""`bench data describe`: what a category holds, in numbers and in one picture."""
