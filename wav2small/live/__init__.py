"""Show what a model hears: a page for browsers, and a view for terminals."""
