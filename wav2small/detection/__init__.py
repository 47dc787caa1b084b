"""A detector of speech that learns from scenes, for a model that streams."""
