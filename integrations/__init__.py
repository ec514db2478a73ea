"""One file per framework, on one small base. None yet: the frameworks come next."""
