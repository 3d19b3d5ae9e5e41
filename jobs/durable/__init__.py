"""What a job keeps over its attempts: finished steps, progress and checkpoint, and its waits."""
