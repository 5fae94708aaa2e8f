"""`bench report`: a finished run as one page, with its misclassified images and their heat maps."""
