"""Where the server keeps what it was told: three seams and their embedded defaults."""
