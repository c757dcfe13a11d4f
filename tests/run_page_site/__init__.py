"""What the suites of the run page stand on: a real API server over a database with known runs."""
