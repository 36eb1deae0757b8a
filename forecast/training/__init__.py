"""Training of networks; TensorFlow is imported by its modules, never by this package."""
