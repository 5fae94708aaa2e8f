"""Datasets in the layout of MVTec AD: facts, reading, caching, augmentation."""
