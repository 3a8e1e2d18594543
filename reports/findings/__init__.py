"""What the rows of an audit say: estimates, tests, standings, outcomes, guarantees and costs."""
