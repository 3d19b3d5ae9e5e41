"""What people and programs are shown of jobs, queues and workers: values and words, the same in every front end."""
