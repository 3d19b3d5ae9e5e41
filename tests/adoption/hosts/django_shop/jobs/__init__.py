"""Jobs at the shop, and who applies for them."""
