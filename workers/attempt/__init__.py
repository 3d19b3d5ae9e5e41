"""One claimed attempt in the child: whether it may start, and how it ends or is released."""
