"""How `tracker ui` keeps up with a folder of runs: finding, following and reading them, and telling who is dead."""
