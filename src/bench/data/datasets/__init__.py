"""The datasets, one file a family: what they are called, where their images lie, what is known of them."""
