"""What the tests stand on: real local endpoints, real processes, a hand-moved clock and bounded waiting."""
