"""What a job may do, and what each move makes of it: decisions about values."""
