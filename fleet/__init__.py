"""State that all processes share: workers' records, limits, breakers, counts, and the audit trail of commands."""
