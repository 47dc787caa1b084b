"""Which clips to label, and labels from a language model."""
