"""SQS and DynamoDB in one small process: fast enough not to distort measurements, with exact metering.

It answers the requests that Celery and jobclaim make, counts them, meters write and read units by AWS's published
rules, and adds a latency to each. It does not check signatures or throttle, and keeps everything in memory: it is a
meter, not an emulator for testing behavior.
"""
