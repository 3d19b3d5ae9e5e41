"""What each page reads: bounded requests, and the values that its template shows."""
