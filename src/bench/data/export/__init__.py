"""Images and masks of a category in the formats that detectors and segmenters read."""
