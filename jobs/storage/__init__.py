"""The job table, the requests to it, and the forms that values have in it."""
