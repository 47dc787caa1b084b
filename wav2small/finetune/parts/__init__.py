"""Parts of a teacher that a configuration can switch on."""
