"""HTML pages that need nothing but themselves: one template, one style sheet, charts as inline SVG."""
