"""jobclaim beside the task queues that people put on SQS: same endpoints, same bodies, same machine, by turns."""
