"""The routes of the HTTP API, one file per subject; `docs/architecture.md` is their contract."""
