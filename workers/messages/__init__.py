"""What messages carry: a call, its options and what follows it."""
