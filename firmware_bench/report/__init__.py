"""What the bench found: as data, text, Markdown, JUnit and pictures."""
