"""The demonstration: a small world of about a thousand images with captions, and the small model
that knows it. It shows the mechanism, not the quality of a full-size model."""
