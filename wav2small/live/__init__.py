"""What is seen while a model hears: a page for browsers, and a view for terminals."""
