"""`bench report`: a finished run as one page, with the images that it got wrong and what it saw in them."""
