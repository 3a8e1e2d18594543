"""How a search takes a step: the loop, its restarts, and the derivatives of a client's gradient."""
