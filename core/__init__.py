"""What lives inside the training process: a run, its records, and the journal that keeps them."""
