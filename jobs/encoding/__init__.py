"""How a job is written into an item of DynamoDB: names of attributes, values as compact text, and what has changed."""
