"""A package, so that a folder here named as a framework is not imported in that framework's place."""
