"""`bench accept`: from a category of photos to one method with one threshold, what it promises, and a page of it."""
