"""The judge: rules of its own about writes, bodies, answers and times; it trusts no counter that is stored."""
