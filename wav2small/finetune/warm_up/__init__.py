"""What a backbone can learn before it is fine-tuned."""
