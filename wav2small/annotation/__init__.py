"""A teacher scores audio, on one machine or many, and nothing is lost."""
