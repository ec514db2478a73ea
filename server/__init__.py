"""The local server: takes journals in, answers questions about runs, serves the dashboard."""
