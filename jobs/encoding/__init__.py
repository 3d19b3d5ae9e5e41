"""How a job is written into a DynamoDB item: attribute names, values as compact text, and changes."""
