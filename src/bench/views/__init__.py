"""Pictures, charts and HTML pages."""
