"""Compare jobclaim with common task queues on SQS: same endpoints, same bodies, same machine, in alternating rounds."""
