"""Who may ask what: hosts and origins, sizes and times, keys and what they open."""
