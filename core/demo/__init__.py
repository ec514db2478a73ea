"""What `tracker demo` trains."""
