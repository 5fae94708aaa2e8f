"""The datasets, one file per family: their names, where their images lie, what is known of them."""
