"""Pages and images that show what was done: self-contained HTML, drawn as inline SVG."""
