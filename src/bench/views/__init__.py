"""Pictures, charts and pages: what is looked at."""
