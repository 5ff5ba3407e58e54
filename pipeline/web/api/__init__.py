"""What the pages show as JSON, with the same rights, limits and words; described by OpenAPI."""
