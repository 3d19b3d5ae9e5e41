"""SQS and DynamoDB in one small process: fast enough not to be what is measured, and honest about what is used.

It answers the requests that Celery and jobclaim make, counts them, meters write and read units by AWS's published
rules, and adds a latency to each. It checks no signature, knows no throttling and keeps everything in memory: a meter,
not an emulator to trust with behaviour.
"""
