"""What failures are, what they mean, and what follows from them."""
