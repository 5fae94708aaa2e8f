"""`bench data import`: photos as people have them become a category: labels, masks, roles."""
