"""A benchmark of visual defect detection: train, test and compare methods on MVTec AD."""

__version__ = "0.1.0"
