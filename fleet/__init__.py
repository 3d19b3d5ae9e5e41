"""What all processes share: workers' records, limits, breakers, counts, and the audit trail of people's commands."""
