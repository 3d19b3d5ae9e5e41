"""From a call to a job and its message: arguments, key, envelope, dispatch, one by one or in bulk."""
